// What is kept of the figures, without a server or a browser.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { createServer } from "vite";

// Node 20 takes no TypeScript; Vite gives it what the console is built from.
const vite = await createServer({ server: { middlewareMode: true, ws: false }, appType: "custom", logLevel: "error" });
after(() => vite.close());
const { History } = await vite.ssrLoadModule("/src/history.ts");
const { bytes, count, rate } = await vite.ssrLoadModule("/src/format.ts");

const at = (seconds, topics = seconds) => ({ time: new Date(seconds * 1000).toISOString(), topics });
const topics = (figures) => figures.topics;

test("an hour is kept", () => {
  const history = new History();
  for (let second = 1; second <= 4000; second += 1) assert.ok(history.add(at(second)));
  const [times] = history.columns(10_000, []);
  assert.deepEqual([times[0], times.at(-1)], [400, 4000]);
});

test("figures that are not newer than the last are passed over", () => {
  const history = new History();
  assert.deepEqual([at(5), at(5), at(4), at(6)].map((figures) => history.add(figures)), [true, false, false, true]);
  assert.equal(history.latest.topics, 6);
  history.clear();
  assert.equal(history.latest, undefined);
  assert.ok(history.add(at(1)));
});

test("the columns begin one row before the time that is asked for", () => {
  const history = new History();
  for (const second of [10, 20, 30, 40]) history.add(at(second, second * 2));
  assert.deepEqual(history.columns(15, [topics]), [[20, 30, 40], [40, 60, 80]]);
  assert.deepEqual(history.columns(3600, [topics])[0], [10, 20, 30, 40]);
  assert.deepEqual(new History().columns(60, [topics]), [[], []]);
});

test("no line leads over a time in which the server was not there", () => {
  const history = new History();
  for (const second of [10, 20, 120]) history.add(at(second));
  assert.deepEqual(history.columns(3600, [topics]), [[10, 20, 21, 120], [10, 20, null, 120]]);
});

test("numbers are as people read them", () => {
  assert.deepEqual([0, 1023, 1024, 8388608, 3e13].map(bytes), ["0 B", "1,020 B", "1 KiB", "8 MiB", "27.3 TiB"]);
  assert.deepEqual([0, 0.1, 12.34, 999, 1200, 1.5e6].map(rate), ["0", "0.1", "12.3", "999", "1.2K", "1.5M"]);
  assert.equal(count(20412), "20,412");
});
