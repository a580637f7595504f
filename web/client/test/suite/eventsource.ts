/** `EventSource`: what the standard says, and what goes beyond it. */

import { EndEvent, EventSource, type EventSourceOptions, GapEvent, StreamErrorEvent, StreamMessage } from "longwave";

import { type Answer, Script, cleanup, equal, failure, ok, surroundings, test, until } from "./harness.js";

/** A stream that is closed with its case, and what it dispatched, in words. */
function open(url: string | URL, options: EventSourceOptions = {}): { stream: EventSource; log: string[] } {
  const stream = new EventSource(url, { retryMs: 5, ...options });
  const log: string[] = [];
  for (const type of ["open", "message", "error", "price", "longwave.gap", "longwave.end", "longwave.transport"]) {
    stream.addEventListener(type, (event: Event) => {
      const detail = event instanceof MessageEvent ? ` ${event.lastEventId} ${event.data}` : "";
      log.push(`${type} ${stream.readyState}${detail}`);
    });
  }
  cleanup(() => stream.close());
  return { stream, log };
}

const FOREVER: Answer = { then: "hang" };
const NO_MORE: Answer = { status: 204 };

test("it has the constants, the properties and the states of the standard", async () => {
  const script = await Script.of({ chunks: ["id: 1\ndata: a\n\n"] });
  const { stream, log } = open(script.url);
  equal([EventSource.CONNECTING, EventSource.OPEN, EventSource.CLOSED], [0, 1, 2]);
  equal([stream.CONNECTING, stream.OPEN, stream.CLOSED], [0, 1, 2]);
  equal([stream.readyState, stream.url, stream.withCredentials, stream.onmessage], [0, script.url, false, null]);
  await until(() => log.length === 2);
  equal(log, ["open 1", "message 1 1 a"]);
  stream.close();
  equal(stream.readyState, 2);
  await until(async () => (await script.open()) === 0);
  const [request] = await script.seen();
  equal([request?.method, request?.headers["accept"], request?.headers["last-event-id"]], ["GET", "text/event-stream", undefined]);
});

test("a malformed URL is refused at once", () => {
  let name = "";
  try {
    new EventSource("http://[");
  } catch (error) {
    name = (error as Error).name;
  }
  equal(name, "SyntaxError");
});

test("messages have the origin of the answer and the last id, and handlers can be replaced", async () => {
  const script = await Script.of(FOREVER);
  const { stream, log } = open(script.url.replace(surroundings.server, surroundings.otherOrigin));
  await until(() => stream.readyState === 1);
  const seen: unknown[] = [];
  stream.onmessage = () => seen.push("first");
  stream.onmessage = function (event) {
    seen.push([this === stream, event instanceof MessageEvent, event.origin, event.lastEventId, event.data]);
  };
  await script.write("id: ż1\ndata: a\n\ndata: b\n\n");
  await until(() => log.length === 3);
  const origin = surroundings.otherOrigin;
  equal(seen, [[true, true, origin, "ż1", "a"], [true, true, origin, "ż1", "b"]]);
  stream.onmessage = null;
  await script.write("data: c\n\n");
  await until(() => log.length === 4);
  equal(seen.length, 2);
});

test("each event has a task of its own, and none comes after the stream is closed", async () => {
  const script = await Script.of({ chunks: ["data: a\n\ndata: b\n\ndata: c\n\n"] });
  const { stream } = open(script.url);
  const order: string[] = [];
  stream.onmessage = ({ data }) => {
    order.push(data);
    queueMicrotask(() => order.push(`${data} later`));
    if (data === "b") stream.close();
  };
  await until(() => stream.readyState === 2);
  await new Promise((resolve) => setTimeout(resolve, 50));
  equal(order, ["a", "a later", "b", "b later"]);
});

test("a connection that ends or breaks is opened again behind the last id, until 204", async () => {
  const script = await Script.of(
    { chunks: ["retry: 7\nid: ż1\ndata: a\n\n"], then: "end" },
    { head: "broken" },
    { chunks: ["data: b\n\nid: 2\ndata: cut"], then: "reset" },
    { chunks: ["id: 3\ndata: c\n\n"], then: "end" },
    NO_MORE,
  );
  const { stream, log } = open(script.url);
  await until(() => stream.readyState === 2);
  equal(log, [
    ...["open 1", "message 1 ż1 a", "error 0", "error 0"],
    ...["open 1", "message 1 ż1 b", "error 0"],
    ...["open 1", "message 1 3 c", "error 0", "error 2"],
  ]);
  const ids = (await script.seen()).map(({ headers }) => headers["last-event-id"]);
  const inUtf8 = String.fromCharCode(...new TextEncoder().encode("ż1"));
  equal(ids, [undefined, inUtf8, inUtf8, inUtf8, "3"]);
});

for (const [what, answer] of [
  ["another status than 200", { status: 503, chunks: ["data: a\n\n"], then: "end" }],
  ["another type", { headers: { "content-type": "text/plain" }, chunks: ["data: a\n\n"], then: "end" }],
  ["a type that only begins like it", { headers: { "content-type": "text/event-streams" }, then: "end" }],
] as [string, Answer][]) {
  test(`${what} fails the stream for good`, async () => {
    const script = await Script.of(answer);
    const { stream, log } = open(script.url);
    const error = await failure(stream[Symbol.asyncIterator]().next());
    equal([error.name, error["status"]], ["StreamError", answer.status ?? 200]);
    equal(log, ["error 2"]);
    equal((await script.seen()).length, 1);
  });
}

test("the type's parameters and case are of no matter", async () => {
  const script = await Script.of({ headers: { "content-type": "Text/Event-Stream ; charset=latin1" } });
  const { log } = open(script.url);
  await until(() => log.length > 0);
  equal(log, ["open 1"]);
});

test("redirects are followed, and the next connection begins at the first URL", async () => {
  const target = await Script.of({ chunks: ["data: a\n\n"], then: "end" });
  const script = await Script.of({ status: 307, headers: { location: target.url }, then: "end" }, NO_MORE);
  const { stream, log } = open(script.url);
  await until(() => stream.readyState === 2);
  equal(log, ["open 1", "message 1  a", "error 0", "error 2"]);
  equal([(await script.seen()).length, (await target.seen()).length, stream.url], [2, 1, script.url]);
});

test("a page of another origin is read, with credentials where they are asked for", async () => {
  const script = await Script.of({
    headers: { "access-control-allow-origin": new URL(surroundings.server).origin },
    chunks: ["data: a\n\n"],
  });
  const { stream, log } = open(script.url.replace(surroundings.server, surroundings.otherOrigin), { withCredentials: true });
  await until(() => log.length === 2);
  equal([stream.withCredentials, log], [true, ["open 1", "message 1  a"]]);
});

test("headers, method, body and a fresh token go with each request", async () => {
  const script = await Script.of({ head: "broken" }, { chunks: ["id: 1\ndata: a\n\n"], then: "reset" }, NO_MORE);
  let count = 0;
  const token = async () => `t${(count += 1)}`;
  const { stream } = open(script.url, { headers: { "x-own": "o" }, method: "POST", body: "hi", token, lastEventId: "0" });
  await until(() => stream.readyState === 2);
  const seen = (await script.seen()).map(({ method, body, headers }) => [
    ...[method, body, headers["x-own"], headers["authorization"], headers["last-event-id"]],
  ]);
  equal(seen, [
    ["POST", "hi", "o", "Bearer t1", "0"],
    ["POST", "hi", "o", "Bearer t2", "0"],
    ["POST", "hi", "o", "Bearer t3", "1"],
  ]);
});

test("a token that can't be had is asked for again", async () => {
  const script = await Script.of({ chunks: ["data: a\n\n"] });
  let count = 0;
  const token = () => {
    count += 1;
    if (count < 3) throw new Error("not now");
    return "t";
  };
  const { log } = open(script.url, { token });
  await until(() => log.length === 4);
  equal(log, ["error 0", "error 0", "open 1", "message 1  a"]);
});

test("a POST is over with its body, and is not repeated without a position", async () => {
  const whole = await Script.of({ chunks: ["data: a\n\n"], then: "end" });
  const data = [];
  for await (const event of open(whole.url, { method: "POST" }).stream) data.push(event.data);
  equal([data, (await whole.seen()).length], [["a"], 1]);
  const broken = await Script.of({ chunks: ["data: a\n\n"], then: "reset" });
  const { stream } = open(broken.url, { method: "POST" });
  const error = await failure((async () => { for await (const _ of stream); })());
  equal([error.name, (await broken.seen()).length], ["StreamError", 1]);
});

test("iteration gives every event in order, ends with 204, and a slow loop holds the connection back", async () => {
  const blocks = Array.from({ length: 2_000 }, (_, index) => `id: ${index}\nevent: e${index % 3}\ndata: ${index}\n\n`);
  const script = await Script.of({ chunks: [blocks.join("")], then: "end" }, NO_MORE);
  const data: string[] = [];
  for await (const event of open(script.url).stream) {
    data.push(event.data);
    if (data.length === 5) await new Promise((resolve) => setTimeout(resolve, 100));
  }
  equal(data, blocks.map((_, index) => `${index}`));
});

test("leaving the loop closes the stream", async () => {
  const script = await Script.of({ chunks: ["data: a\n\ndata: b\n\n"] });
  const { stream } = open(script.url);
  for await (const event of stream) {
    equal(event.data, "a");
    break;
  }
  equal(stream.readyState, 2);
  await until(async () => (await script.open()) === 0);
});

test("an abort closes the stream, and iteration fails with its reason", async () => {
  const script = await Script.of(FOREVER);
  const controller = new AbortController();
  const { stream, log } = open(script.url, { signal: controller.signal });
  const loop = failure(stream[Symbol.asyncIterator]().next());
  await until(() => stream.readyState === 1);
  controller.abort(new Error("enough"));
  equal([(await loop).message, stream.readyState, log], ["enough", 2, ["open 1"]]);
  await until(async () => (await script.open()) === 0);
  const late = open(script.url, { signal: controller.signal });
  equal(late.stream.readyState, 2);
});

test("as many retries as allowed are made, and the last error says why", async () => {
  const script = await Script.of({ head: "broken" });
  const { stream, log } = open(script.url, { retriesMax: 2 });
  const error = await failure(stream[Symbol.asyncIterator]().next());
  equal([error.name, log.length, (await script.seen()).length], ["StreamError", 4, 3]);
});

test("statuses that may pass are tried again where the caller wants that", async () => {
  const problem = JSON.stringify({ detail: "too much to do" });
  const headers = { "content-type": "application/problem+json", "retry-after": "0" };
  const script = await Script.of({ status: 503, headers, chunks: [problem], then: "end" }, { chunks: ["data: a\n\n"] });
  const { stream, log } = open(script.url, { retryStatuses: [503] });
  const said: string[] = [];
  stream.onerror = ({ error }) => said.push(error.message);
  await until(() => log.length === 3);
  equal([log, said], [["error 0", "open 1", "message 1  a"], ["the server answered 503: too much to do"]]);
});

test("the last id can be given and set", async () => {
  const script = await Script.of({ chunks: ["data: a\n\n"] }, FOREVER);
  const { stream } = open(script.url, { lastEventId: "5" });
  stream.onmessage = () => {
    stream.lastEventId = "9";
    void script.end();
  };
  await until(async () => (await script.seen()).length === 2);
  ok((await script.seen())[0]?.headers["last-event-id"] === "5", "the first request has the given id");
});

test("events have their topic, their JSON and their bytes", async () => {
  const chunks = ['topic: a/b\nevent: price\ndata: {"ask":2}\n\n', "encoding: base64\ndata: AAEC\n\n", "data: ż\n\n"];
  const script = await Script.of({ chunks });
  const stream = new EventSource<{ price: { ask: number } }>(script.url);
  cleanup(() => stream.close());
  const seen: unknown[] = [];
  stream.addEventListener("price", (event) => seen.push([event.topic, event.json().ask]));
  stream.onmessage = (event) => seen.push([...event.bytes()]);
  await until(() => seen.length === 3);
  equal(seen, [["a/b", 2], [0, 1, 2], [0xc5, 0xbc]]);
});

test("gaps and ends are events with members, and an ended topic is not asked for again", async () => {
  const gap = 'id: e-9\nevent: longwave.gap\ndata: {"after":"e-1","resumed":"e-9","reason":"retention"}\n\n';
  const end = 'id: e-12\nevent: longwave.end\ndata: {"reason":"done"}\n\n';
  const script = await Script.of({ chunks: [gap, end], then: "end" });
  const { stream, log } = open(script.url);
  const seen: unknown[] = [];
  stream.ongap = ({ after, resumed, reason }) => seen.push([after, resumed, reason]);
  stream.onend = ({ reason }) => seen.push(reason);
  const kinds = [];
  for await (const event of stream) kinds.push([event instanceof GapEvent, event instanceof EndEvent]);
  equal([seen, kinds], [[["e-1", "e-9", "retention"], "done"], [[true, false], [false, true]]]);
  equal([log.at(-1), stream.lastEventId, (await script.seen()).length], ["error 2", "e-12", 1]);
});

test("a stream that is lost before its first event goes on from the server's cursor", async () => {
  const script = await Script.of({ headers: { "longwave-cursor": "e-7" }, then: "end" }, FOREVER);
  const { stream } = open(script.url);
  await until(async () => (await script.seen()).length === 2);
  equal([(await script.seen())[1]?.headers["last-event-id"], stream.lastEventId], ["e-7", ""]);
});

test("a topic that falls silent is connected to again", async () => {
  const script = await Script.at("/topics/a", { chunks: [":\n"] }, { chunks: ["data: a\n\n"] });
  const { stream, log } = open(script.url, { silenceMaxMs: 200 });
  const said: string[] = [];
  stream.onerror = ({ error }) => said.push(error.message);
  await until(() => log.includes("message 1  a"));
  equal(said[0], "nothing came for 200 ms");
});

test("an error is a StreamErrorEvent and a message a StreamMessage", async () => {
  const script = await Script.of({ chunks: ["data: a\n\n"], then: "end" }, NO_MORE);
  const { stream } = open(script.url);
  const kinds: boolean[] = [];
  stream.onmessage = (event) => kinds.push(event instanceof StreamMessage);
  stream.onerror = (event) => kinds.push(event instanceof StreamErrorEvent && event.error.name === "StreamError");
  await until(() => stream.readyState === 2);
  equal(kinds, [true, true, true]);
});

test("a real topic is followed from its first event to its end", async () => {
  const topic = `${surroundings.longwave}/topics/suite-${Math.random().toString(36).slice(2)}`;
  const publish = (query: string, body: string) => fetch(`${topic}${query}`, { method: "POST", body });
  await publish("?type=price", "1");
  const seen: unknown[] = [];
  for await (const event of open(`${topic}?after=first`).stream) {
    seen.push([event.type, event.data]);
    if (event.data === "1") await publish("?end", "two\nlines");
  }
  equal(seen, [["price", "1"], ["message", "two\nlines"], ["longwave.end", '{"reason":"done"}']]);
});
