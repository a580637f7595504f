/** When to try again. */

import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";

import { resumingFetch } from "longwave/fetch";

import { Backoff, DELAY_FIRST_MS, DELAY_MAX_MS, RETRY_AFTER_MAX_MS, fullJitterMs, retryAfterMs } from "../dist/backoff.js";
import { FakeGateway, events, until } from "./gateway.js";

test("a wait is anything up to a bound that doubles, and stops", () => {
  const longest = [1, 2, 3, 6, 50].map((failures) => fullJitterMs(failures, () => 1));
  assert.deepEqual(longest, [DELAY_FIRST_MS, DELAY_FIRST_MS * 2, DELAY_FIRST_MS * 4, DELAY_MAX_MS, DELAY_MAX_MS]);
  assert.equal(fullJitterMs(9, () => 0), 0);
});

test("a server's wish is read in seconds and as a date, and has a bound", () => {
  const nowMs = Date.parse("2026-11-20T12:00:00Z");
  const read = (value: string | null) => retryAfterMs(value, nowMs);
  assert.equal(read(null), 0);
  assert.equal(read("7"), 7_000);
  assert.equal(read("Fri, 20 Nov 2026 12:00:30 GMT"), 30_000);
  assert.equal(read("Fri, 20 Nov 2026 11:00:00 GMT"), 0);
  assert.equal(read("soon"), 0);
  assert.equal(read("9999999999"), RETRY_AFTER_MAX_MS);
});

test("as many tries as allowed, and no more", async () => {
  const random = Math.random;
  Math.random = () => 0;
  const backoff = new Backoff(2);
  const { signal } = new AbortController();
  const tries = [await backoff.wait(signal), await backoff.wait(signal), await backoff.wait(signal)];
  Math.random = random;
  assert.deepEqual(tries, [true, true, false]);
});

/** Node has neither `navigator.onLine` nor events on its global object: what a browser does is put in their place. */
describe("in a browser", { timeout: 30_000 }, () => {
  const random = Math.random;
  const target = new EventTarget();
  const names = ["navigator", "addEventListener", "removeEventListener"] as const;
  const before = names.map((name) => Object.getOwnPropertyDescriptor(globalThis, name));
  const be = (onLine: boolean) => {
    const values = [{ onLine }, target.addEventListener.bind(target), target.removeEventListener.bind(target)];
    names.forEach((name, index) =>
      Object.defineProperty(globalThis, name, { configurable: true, writable: true, value: values[index] }),
    );
    if (onLine) target.dispatchEvent(new Event("online"));
  };
  afterEach(() => {
    Math.random = random;
    names.forEach((name, index) => {
      const descriptor = before[index];
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
      else Reflect.deleteProperty(globalThis, name);
    });
  });

  test("being offline is waited out, and no failure", async () => {
    be(false);
    const backoff = new Backoff(0);
    const wait = backoff.wait(new AbortController().signal);
    be(true);
    assert.equal(await wait, true);
    assert.equal(backoff.failures, 0);
  });

  test("being offline does not hold who has gone", async () => {
    be(false);
    const gone = new AbortController();
    const wait = new Backoff(0).wait(gone.signal);
    gone.abort(new Error("gone"));
    await assert.rejects(wait, /gone/);
  });

  test("coming online ends a wait", async () => {
    be(true);
    // Days, and less than what overflows a timer.
    Math.random = () => 1e6;
    const wait = new Backoff(1).wait(new AbortController().signal);
    be(true);
    assert.equal(await wait, true);
  });

  test("coming online opens another connection in place of one that says nothing more", async () => {
    be(true);
    Math.random = () => 0;
    const gateway = await FakeGateway.start(events(["data: a\n\n", "data: b\n\n"]));
    gateway.faults = [{ hangAfter: 50 }];
    const response = await resumingFetch()(gateway.url, { method: "POST", body: "{}" });
    const reader = response.body?.getReader();
    assert.ok(((await reader?.read())?.value?.length ?? 0) > 0);
    const next = reader?.read();
    be(true);
    assert.match(Buffer.from((await next)?.value ?? []).toString(), /data: b/);
    await until(() => gateway.count("GET") === 1);
    assert.equal((await reader?.read())?.done, true);
    await gateway.stop();
  });
});
