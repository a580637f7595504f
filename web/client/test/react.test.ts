/** `longwave/react` in Chromium, with React as it is published, against a real server. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { build } from "esbuild";

import { withPage } from "./chromium.js";
import { Longwave } from "./longwave.js";
import { ScriptedServer } from "./scripted.js";

const APPLICATION = `
import { createElement as h, useState } from "react";
import { createRoot } from "react-dom/client";
import { useStream, useTopic } from "longwave/react";
import { EventSource } from "longwave";
const own = new EventSource("/proxy/a/topics/own");
function Application() {
  const [topic, setTopic] = useState("a");
  const [count, setCount] = useState(0);
  const { events, status } = useTopic("/proxy/a/topics/" + topic, { eventsMax: 2 });
  useStream(own, () => setCount((count) => count + 1));
  const text = [topic, status, events.map(({ data }) => data).join(), count].join(" ");
  return h("button", { onClick: () => setTopic("b") }, text);
}
createRoot(document.body).render(h(Application));
`;

test("components follow topics, and let go of them", { timeout: 60_000 }, async () => {
  const [server, longwave] = [await ScriptedServer.start(), await Longwave.start()];
  server.upstream = longwave.url;
  const { outputFiles } = await build({
    stdin: { contents: APPLICATION, resolveDir: import.meta.dirname },
    bundle: true,
    format: "esm",
    define: { "process.env.NODE_ENV": '"production"' },
    write: false,
  });
  server.files.set("/app.js", { type: "text/javascript", body: outputFiles[0]?.contents ?? "" });
  server.files.set("/app", { type: "text/html", body: '<!doctype html><body><script type="module" src="/app.js"></script>' });
  await withPage(async (page) => {
    const shows = (text: string) => page.getByText(text, { exact: true }).waitFor();
    await page.goto(`${server.url}/app`);
    await shows("a open  0");
    for (const data of ["1", "2", "3"]) await longwave.publish("a", data);
    await shows("a open 2,3 0");
    await longwave.publish("own", "x", "?type=any");
    await shows("a open 2,3 1");
    await page.getByRole("button").click();
    await shows("b open  1");
    assert.equal(await longwave.metric('longwave_subscribers{transport="sse"}'), 2);
  });
  await server.stop();
  await longwave.stop();
});
