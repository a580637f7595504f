/** `longwave/websocket` against a real server, and through a connection that is cut. */

import { TopicSocket, type TopicSocketOptions } from "longwave/websocket";

import { cleanup, equal, failure, surroundings, test, until } from "./harness.js";

function open(url: string, options: TopicSocketOptions = {}): { socket: TopicSocket; log: string[] } {
  const socket = new TopicSocket(url, { retryMs: 5, ...options });
  const log: string[] = [];
  for (const type of ["message", "price", "longwave.end"]) {
    socket.addEventListener(type, (event) => log.push(`${event.topic} ${event.type} ${event.data}`));
  }
  cleanup(() => socket.close());
  return { socket, log };
}

const name = () => `suite-${Math.random().toString(36).slice(2)}`;

test("a socket follows its topic, publishes to it, and is told when that is durable", async () => {
  const topic = name();
  const { socket, log } = open(`${surroundings.longwave}/topics/${topic}`);
  const published = await socket.publish({ a: 1 }, { type: "price" });
  equal([published.topic, typeof published.id], [topic, "string"]);
  await until(() => socket.readyState === 1);
  await socket.publish("two", { end: "done" });
  await until(() => log.length >= 2 && log.at(-1)?.includes("end") === true);
  equal(log.slice(-2), [`${topic} message two`, `${topic} longwave.end {"reason":"done"}`]);
  const error = await failure(socket.publish("three"));
  equal([error.name, error["code"]], ["PublishError", "topic-ended"]);
});

test("subscriptions come and go on one socket, from where they are asked for", async () => {
  const [a, b] = [name(), name()];
  const { socket, log } = open(`${surroundings.longwave}/events?topic=${a}`, { after: "first" });
  await socket.publish("1", { topic: b });
  await socket.publish("2", { topic: a });
  socket.subscribe(b, { after: "first" });
  await until(() => log.length === 2);
  equal([...log].sort(), [`${a} message 2`, `${b} message 1`].sort());
  socket.unsubscribe(a);
  await socket.publish("3", { topic: a });
  await socket.publish("4", { topic: b });
  await until(() => log.length === 3);
  equal(log.at(-1), `${b} message 4`);
});

test("over connections that are cut, every event comes once, and every publish is there once", async () => {
  const topic = name();
  const { socket } = open(`${surroundings.server}/cut/topics/${topic}`, { after: "first" });
  const EVENTS = 60;
  const publishing = (async () => {
    for (let count = 0; count < EVENTS; count += 1) await socket.publish({ count });
  })();
  const seen: number[] = [];
  for await (const event of socket) {
    seen.push((event.json() as { count: number }).count);
    if (seen.length === EVENTS) break;
    if (seen.length % 20 === 0) await fetch(`${surroundings.server}/cutall`, { method: "POST" });
  }
  equal(seen, Array.from({ length: EVENTS }, (_, index) => index));
  await publishing.catch(() => {});
});
