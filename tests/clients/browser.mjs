// Follows two topic URLs with Chromium: one with its `EventSource`, one with its `WebSocket`.
//
//     node browser.mjs EVENTSOURCE_URL WEBSOCKET_URL
//
// Each runs in a page of the server's own origin, as a page that the server delivered would.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { chromium } from "playwright-core";

import { EVENT_TYPES, reportDone, reportEvent, reportMessage } from "./report.mjs";

const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];
const RECONNECT_DELAY_MS = 200;
const PAGE_ATTEMPTS_MAX = 50;

/** Opens a page of the origin that `url` belongs to. The connection may be cut, so it tries again. */
async function openPage(context, url) {
  const page = await context.newPage();
  for (let attempt = 1; ; attempt += 1) {
    try {
      await page.goto(new URL("/health", url).href);
      return page;
    } catch (error) {
      if (attempt === PAGE_ATTEMPTS_MAX) throw error;
    }
  }
}

async function followByEventSource(context, url) {
  const client = "chromium-eventsource";
  const page = await openPage(context, url);
  await page.exposeFunction("report", (event) => reportEvent(client, event));
  let stopped;
  const stops = new Promise((resolve) => (stopped = resolve));
  await page.exposeFunction("stopped", stopped);
  await page.evaluate(
    ({ url, types }) => {
      const source = new EventSource(url);
      for (const type of types) {
        source.addEventListener(type, (event) => {
          report({ id: event.lastEventId, type: event.type, data: event.data });
        });
      }
      source.addEventListener("error", () => {
        if (source.readyState === EventSource.CLOSED) stopped();
      });
    },
    { url: `${url}?after=first`, types: EVENT_TYPES },
  );
  await stops;
  reportDone(client, "closed");
}

async function followByWebSocket(context, url) {
  const client = "chromium-websocket";
  const page = await openPage(context, url);
  let cursor = "first";
  let ended = false;
  await page.exposeFunction("report", (text) => {
    const told = reportMessage(client, text);
    cursor = told.cursor ?? cursor;
    ended ||= told.ended === true;
  });
  while (!ended) {
    const at = new URL(url);
    at.protocol = "ws:";
    at.searchParams.set("after", cursor);
    // Resolves when the socket has closed and all that it delivered was reported.
    await page.evaluate(
      (url) =>
        new Promise((resolve) => {
          const socket = new WebSocket(url, "longwave.v1");
          let reported = Promise.resolve();
          socket.addEventListener("message", ({ data }) => {
            reported = report(data);
            if (JSON.parse(data).end) socket.close();
          });
          socket.addEventListener("close", () => reported.then(resolve));
        }),
      at.href,
    );
    if (!ended) await new Promise((resolve) => setTimeout(resolve, RECONNECT_DELAY_MS));
  }
  reportDone(client, "end");
}

const profile = await mkdtemp(join(tmpdir(), "longwave-chromium-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: EXECUTABLE,
  args: ARGUMENTS,
});
try {
  await Promise.all([
    followByEventSource(context, process.argv[2]),
    followByWebSocket(context, process.argv[3]),
  ]);
} finally {
  await context.close();
  await rm(profile, { recursive: true, force: true });
}
