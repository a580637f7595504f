// The server's figures, as its topic $sys/stats has them: kept for an hour, and followed as long as the console is open.

import { useEffect, useState } from "preact/hooks";

import { History, type Figures } from "./history.ts";

export type Connection = "connecting" | "live" | "offline";

/** What is known of the server now. */
export interface ServerFigures {
  readonly connection: Connection;
  readonly history: History;
  /** Rises with every change of `history`. */
  readonly revision: number;
}

/** Follows the figures. */
export function useFigures(): ServerFigures {
  const [history] = useState(() => new History());
  const [revision, setRevision] = useState(0);
  const [connection, setConnection] = useState<Connection>("connecting");
  useEffect(() => {
    let source: EventSource | undefined;
    let retry: ReturnType<typeof setTimeout> | undefined;
    // What came since the last frame is shown at once: the first answer holds an hour.
    let frame = 0;
    const changed = () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        setRevision((revision) => revision + 1);
      });
    };
    const open = () => {
      source = new EventSource(FIGURES_URL);
      source.onopen = () => setConnection("live");
      source.onmessage = (event: MessageEvent<string>) => {
        if (history.add(JSON.parse(event.data) as Figures)) changed();
      };
      source.addEventListener("longwave.gap", (event: MessageEvent<string>) => {
        // Another log: what is known is of a server that is no more.
        if ((JSON.parse(event.data) as { reason: string }).reason === "epoch") history.clear();
        changed();
      });
      source.onerror = () => {
        setConnection("offline");
        // A proxy's error makes an EventSource give up.
        if (source?.readyState === EventSource.CLOSED) retry = setTimeout(open, RETRY_MS);
      };
    };
    open();
    return () => {
      source?.close();
      clearTimeout(retry);
      cancelAnimationFrame(frame);
    };
  }, [history]);
  return { connection, history, revision };
}

const FIGURES_URL = "/topics/$sys/stats?since=1h";
const RETRY_MS = 3000;
