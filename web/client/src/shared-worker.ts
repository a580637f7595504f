/** The script of the SharedWorker: a {@link Hub} for all tabs of the origin. */

import { Hub, type ToHub } from "./hub.js";

const hub = new Hub();
globalThis.addEventListener("connect", (event) => {
  const [channel] = (event as MessageEvent).ports;
  if (!channel) return;
  const port = (message: unknown) => channel.postMessage(message);
  channel.onmessage = ({ data }: MessageEvent<ToHub>) => hub.handle(port, data);
});
