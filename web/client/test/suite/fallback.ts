/** Behind a proxy that holds a stream back until it ends. The server behind it is a real one. */

import { EventSource, type EventSourceOptions } from "longwave";

import { Script, cleanup, equal, surroundings, test, until } from "./harness.js";

const TIMES: EventSourceOptions = { retryMs: 5, openingMaxMs: 300, silenceMaxMs: 5_000, probeEveryMs: 100 };

/** A topic of its own, behind the proxy. */
function topic(): { name: string; url: string; publish: (data: string, query?: string) => Promise<unknown> } {
  const name = `suite-${Math.random().toString(36).slice(2)}`;
  const publish = (body: string, query = "") =>
    fetch(`${surroundings.longwave}/topics/${name}${query}`, { method: "POST", body });
  return { name, url: `${surroundings.server}/proxy/${name}/topics/${name}`, publish };
}

async function buffering(name: string, mode: "on" | "off"): Promise<void> {
  await fetch(`${surroundings.server}/buffering/${mode}/${name}`, { method: "POST" });
}

test("behind a proxy that buffers for ever, events come by long poll, each once and as they were", async () => {
  const { name, url, publish } = topic();
  await buffering(name, "on");
  for (const data of ["1", '"text"', '{"a": 1.0}']) await publish(data, "?type=t&format=json");
  const stream = new EventSource(`${url}?after=first`, { ...TIMES, probeEveryMs: 600_000 });
  cleanup(() => stream.close());
  const log: string[] = [];
  stream.ontransport = ({ transport }) => log.push(transport);
  stream.onopen = () => log.push("open");
  const data: string[] = [];
  for await (const event of stream) {
    data.push(`${event.type} ${event.data}`);
    if (data.length === 3) await publish("two\nlines");
    if (data.length === 4) await publish("", "?end=error");
  }
  equal(data, ["t 1", 't "text"', 't {"a": 1.0}', "message two\nlines", 'longwave.end {"reason":"error"}']);
  equal([log, stream.transport], [["long-poll", "open"], "long-poll"]);
});

test("a reader from now on misses nothing from its opening on, and returns when the proxy lets go", async () => {
  const { name, url, publish } = topic();
  await publish("before");
  await buffering(name, "on");
  const stream = new EventSource(url, TIMES);
  cleanup(() => stream.close());
  const [data, log]: string[][] = [[], []];
  stream.onmessage = (event) => data?.push(event.data);
  stream.ontransport = ({ transport }) => log?.push(transport);
  await until(() => stream.readyState === 1);
  for (const text of ["a", "b", "c"]) await publish(text);
  await until(() => data?.length === 3);
  await buffering(name, "off");
  await until(() => stream.transport === "sse");
  for (const text of ["d", "e"]) await publish(text);
  await until(() => data?.length === 5);
  equal([data, log], [["a", "b", "c", "d", "e"], ["long-poll", "sse"]]);
});

test("a gap is told of by long poll too", async () => {
  const { name, url, publish } = topic();
  await buffering(name, "on");
  await publish("a");
  const stream = new EventSource(url, { ...TIMES, lastEventId: "00000-1", probeEveryMs: 600_000 });
  cleanup(() => stream.close());
  const reasons: string[] = [];
  stream.ongap = ({ reason }) => reasons.push(reason);
  await until(() => reasons.length === 1);
  equal(reasons, ["epoch"]);
});

test("a stream that only looks like a topic is left alone", async () => {
  const script = await Script.at("/topics/a", { head: "never" }, { then: "end" }, { chunks: [] });
  const stream = new EventSource(script.url, TIMES);
  cleanup(() => stream.close());
  await until(async () => (await script.seen()).length === 3);
  const message = new Promise((resolve) => (stream.onmessage = resolve));
  await until(() => stream.readyState === 1);
  await script.write("data: late\n\n");
  await message;
  const seen = (await script.seen()).map(({ url }) => new URL(url, script.url).search);
  equal([seen, stream.transport], [["", "?after=now&format=json&wait=0s", ""], "sse"]);
});
