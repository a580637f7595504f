/** `longwave/shared` in tabs of a Chromium, in front of a real server whose connections are counted on the way to it. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { Page } from "playwright-core";

import { withPage } from "./chromium.js";
import { until } from "./gateway.js";
import { Longwave } from "./longwave.js";
import { ScriptedServer } from "./scripted.js";

let server: ScriptedServer;
let longwave: Longwave;

before(async () => {
  longwave = await Longwave.start();
  server = await ScriptedServer.start();
  server.upstream = longwave.url;
  server.files.set("/tab", { type: "text/html", body: "<!doctype html><title>Tab</title>" });
});

after(async () => {
  await server.stop();
  await longwave.stop();
});

/** Opens streams in a tab, and waits until they are open. */
async function follow(page: Page, topics: string[], options: object): Promise<void> {
  await page.evaluate(
    async ({ topics, options }) => {
      const path = "/dist/shared.js";
      const { SharedEventSource } = await import(path);
      const tab = (globalThis as any).tab ?? ((globalThis as any).tab = { seen: {}, streams: {} });
      const opened = topics.map((topic: string) => {
        const stream = new SharedEventSource(`/cut/topics/${topic}`, options);
        tab.streams[topic] = stream;
        tab.seen[topic] ??= [];
        stream.onmessage = ({ data }: MessageEvent) => tab.seen[topic].push(data);
        return new Promise((resolve) => (stream.onopen = resolve));
      });
      await Promise.all(opened);
    },
    { topics, options },
  );
}

async function seen(page: Page): Promise<Record<string, string[]>> {
  return page.evaluate(() => (globalThis as any).tab.seen);
}

async function received(page: Page, topic: string, count: number): Promise<string[]> {
  for (;;) {
    const data = (await seen(page))[topic] ?? [];
    if (data.length >= count) return data;
  }
}

for (const through of ["worker", "lock"] as const) {
  test(`two tabs with twelve topics use one connection, through a ${through}`, { timeout: 60_000 }, async () => {
    await withPage(async (first, context) => {
      const second = await context.newPage();
      for (const page of [first, second]) await page.goto(`${server.url}/tab`);
      const topics = Array.from({ length: 12 }, (_, index) => `${through}/${index}`);
      await follow(first, topics, { through });
      await follow(second, topics, { through });
      assert.equal(server.tunnels, 1);
      for (const topic of topics) await longwave.publish(topic, `of ${topic}`);
      for (const page of [first, second]) {
        for (const topic of topics) assert.deepEqual(await received(page, topic, 1), [`of ${topic}`]);
      }
      assert.equal(server.tunnels, 1);
    });
    await until(() => server.tunnels === 0);
  });

  test(`a tab that closes harms no other, through a ${through}`, { timeout: 60_000 }, async () => {
    await withPage(async (first, context) => {
      const second = await context.newPage();
      for (const page of [first, second]) await page.goto(`${server.url}/tab`);
      const [topic, alone] = [`${through}/closing`, `${through}/alone`];
      await follow(first, [topic, alone], { through });
      await follow(second, [topic], { through });
      await longwave.publish(topic, "0");
      await received(second, topic, 1);
      // The one that made the connection, and that leads where a tab does.
      const closing = first.close();
      for (let count = 1; count < 50; count += 1) await longwave.publish(topic, `${count}`);
      await closing;
      assert.deepEqual(await received(second, topic, 50), Array.from({ length: 50 }, (_, index) => `${index}`));
      await until(() => server.tunnels === 1);
    });
  });

  test(`subscriptions change without losing an event, through a ${through}`, { timeout: 60_000 }, async () => {
    await withPage(async (page) => {
      await page.goto(`${server.url}/tab`);
      const topic = `${through}/steady`;
      await longwave.publish(topic, "0");
      await follow(page, [topic], { through, after: "first" });
      const publishing = (async () => {
        for (let count = 1; count < 100; count += 1) await longwave.publish(topic, `${count}`);
      })();
      for (let count = 0; count < 10; count += 1) {
        await follow(page, [`${through}/other-${count}`], { through });
        await page.evaluate((name) => (globalThis as any).tab.streams[name].close(), `${through}/other-${count}`);
      }
      await publishing;
      const all = Array.from({ length: 100 }, (_, index) => `${index}`);
      assert.deepEqual(await received(page, topic, 100), all);
      // One that comes late to what is followed already catches up, and has each event once.
      const late = await page.context().newPage();
      await late.goto(`${server.url}/tab`);
      await follow(late, [topic], { through, after: "first" });
      await longwave.publish(topic, "100");
      assert.deepEqual(await received(late, topic, 101), [...all, "100"]);
      assert.equal(server.tunnels, 1);
    });
  });
}
