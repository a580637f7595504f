// The console in Chromium, served by the binary that has it.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { get } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

import { publish, startBrowser, startServer, startUpstream } from "./server.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SCREENSHOTS = process.env.SCREENSHOTS ?? fileURLToPath(new URL("../../../target/screenshots", import.meta.url));
const PAGES = [
  { name: "overview", path: "/" },
  { name: "topics", path: "/console/topics" },
  { name: "streams", path: "/console/streams" },
];
const WIDTHS = [360, 768, 1440];
const TOPICS = 1200;
const FIRST_LOAD_BYTES_MAX = 150 * 1024;

let upstream;
let server;
let browser;

before(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  upstream = await startUpstream();
  const gateway = ["--gateway", `/v1=${upstream.address}/v1`];
  [server, browser] = await Promise.all([startServer("127.0.0.1:0", ...gateway), startBrowser()]);
  for (let topic = 0; topic < TOPICS; topic += 1) {
    await publish(server.address, `load/${String(topic).padStart(5, "0")}`, "x");
  }
  await publish(server.address, `${"a-long-name-without-a-place-to-break-".repeat(6)}end`, "x");
});

after(async () => {
  await browser?.close();
  await server?.stop();
  await upstream?.stop();
});

/** Has an answer generated that takes some time; gives it once it has begun. */
async function generate(behaviour) {
  const response = await fetch(`${server.address}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-simulate": behaviour },
    body: JSON.stringify({ model: "simulated", stream: true, messages: [{ role: "user", content: "Tell me about rivers" }] }),
  });
  assert.equal(response.status, 200);
  return response;
}

/** Opens a page of the console, has `look` look at it, and checks that it complained about nothing. */
async function visit(path, look, { width = 1440, colorScheme = "light" } = {}) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
  const page = await context.newPage();
  const complaints = [];
  const note = (text) => complaints.push(text);
  // What the policy refuses is told on the console.
  page.on("console", (message) => message.type() === "error" && note(message.text()));
  page.on("pageerror", (error) => note(String(error)));
  page.on("request", (request) => {
    const address = new URL(request.url());
    if (address.protocol !== "data:" && address.origin !== server.address) note(`asked ${address}`);
  });
  try {
    const answer = await page.goto(server.address + path);
    assert.equal(answer.status(), 200);
    await page.locator(".state[data-state=live]").waitFor();
    await look(page, complaints);
    assert.deepEqual(complaints, []);
  } finally {
    await context.close();
  }
}

const tile = (page, label) => page.locator(".tiles > div", { hasText: label }).locator("dd");

test("the overview shows figures as they come", () =>
  visit("/", async (page) => {
    await tile(page, "Topics").filter({ hasText: /^1,2\d\d$/ }).waitFor();
    await publish(server.address, "overview/one-more", "x");
    await tile(page, "Events kept").filter({ hasText: /^1,2\d\d$/ }).waitFor();
    const published = page.locator(".legend li", { hasText: "published" }).locator("output");
    const stop = setInterval(() => void publish(server.address, "overview/rate", "x"), 50);
    await published.filter({ hasText: /^[1-9]/ }).waitFor();
    clearInterval(stop);
    assert.equal(await page.locator(".plot canvas").count(), 4);
    await page.getByText("1 h", { exact: true }).click();
    assert.ok(await page.getByRole("radio", { name: "1 h" }).isChecked());
  }));

test("the plots have lines where there are figures", () =>
  visit("/", async (page) => {
    await tile(page, "Topics").filter({ hasText: /^1,2\d\d$/ }).waitFor();
    const drawn = () => {
      const [canvas] = document.querySelectorAll("figure:last-of-type canvas");
      const color = getComputedStyle(document.querySelector(".legend .line-1")).color.match(/\d+/g).map(Number);
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let pixels = 0;
      for (let at = 0; at < data.length; at += 4) {
        if (data[at + 3] > 200 && color.every((value, part) => Math.abs(data[at + part] - value) < 30)) pixels += 1;
      }
      return pixels > 20;
    };
    await page.waitForFunction(drawn);
  }));

test("a server that went away is said to be offline, and followed again when it is back", async () => {
  const first = await startServer();
  let second;
  const page = await browser.newPage();
  try {
    await page.goto(first.address);
    await page.locator(".state[data-state=live]").waitFor();
    await first.stop();
    await page.locator(".state[data-state=offline]").waitFor();
    second = await startServer(new URL(first.address).host);
    await publish(second.address, "new", "x");
    await page.locator(".state[data-state=live]").waitFor();
    await tile(page, "Topics").filter({ hasText: /^[12]$/ }).waitFor();
  } finally {
    await page.close();
    await first.stop();
    await second?.stop();
  }
});

test("topics are searched by how their names begin, and all of them can be scrolled to", () =>
  visit("/console/topics", async (page) => {
    const rows = page.locator(".rows [role=row]");
    await page.getByRole("link", { name: "load/00000" }).waitFor();
    assert.ok((await rows.count()) < 80, "only rows that can be seen are in the page");
    await page.waitForFunction((last) => {
      const box = document.querySelector(".rows");
      box.scrollTop = box.scrollHeight;
      return [...box.querySelectorAll("a")].some((link) => link.textContent === last);
    }, `load/0${TOPICS - 1}`);
    assert.ok((await rows.count()) < 80);
    await page.keyboard.press("/");
    await page.keyboard.type("load/0011");
    await page.getByText("10 topics", { exact: true }).waitFor();
    assert.equal(await rows.count(), 10);
    await page.getByRole("link", { name: "load/00117" }).click();
    await page.getByRole("heading", { name: "load/00117" }).waitFor();
  }));

test("what is published by the form is in the list, and what is refused is said", () =>
  visit("/console/topics", async (page, complaints) => {
    await page.getByLabel("Topic", { exact: true }).fill("form/über uns");
    await page.getByLabel("Text", { exact: true }).fill("hello");
    await page.getByRole("button", { name: "Publish" }).click();
    await page.getByText(/^Published to form\/über uns as \w+-\d+\.$/).waitFor();
    await page.getByRole("link", { name: "form/%C3%BCber%20uns" }).waitFor();
    await page.getByLabel("Topic", { exact: true }).fill("$sys/stats");
    await page.getByRole("button", { name: "Publish" }).click();
    await page.getByText("Not published: topics that start with $ are the server's own").waitFor();
    // Chromium itself tells of answers like this one.
    assert.match(complaints.pop(), /403/);
  }));

test("streams are listed by their state, watched and cancelled", async () => {
  await (await generate("words=5 delay=1ms")).text();
  const running = await generate("words=100000 delay=100ms");
  const ended = running.text();
  const id = running.headers.get("longwave-stream").split("/").at(-1);
  await visit("/console/streams", async (page) => {
    const row = page.locator(".rows [role=row]");
    await page.getByText("2 streams", { exact: true }).waitFor();
    assert.match(await row.last().textContent(), /^simulateddone/);
    await page.getByLabel("State").selectOption("running");
    await page.getByText("1 stream", { exact: true }).waitFor();
    await page.getByRole("button", { name: `Cancel ${id}` }).click();
    await page.getByText(`0 streams · ${id} is cancelled.`).waitFor();
    await page.getByLabel("State").selectOption("cancelled");
    await page.getByRole("link", { name: "simulated" }).click();
    await page.getByRole("heading", { name: `streams/${id}` }).waitFor();
    await page.getByText("ended (cancelled)").first().waitFor();
  });
  assert.match(await ended, /cancelled/);
});

test("everything can be reached by the keyboard", () =>
  visit("/", async (page) => {
    await page.keyboard.press("Tab");
    assert.equal(await page.locator(":focus").textContent(), "Skip to the page");
    for (let press = 0; press < 2; press += 1) await page.keyboard.press("Tab");
    assert.equal(await page.locator(":focus").textContent(), "Topics");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Topics" }).waitFor();
    assert.equal(new URL(page.url()).pathname, "/console/topics");
    assert.equal(await page.title(), "Topics · Longwave");
    await page.goBack();
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    await page.getByRole("radio", { name: "60 s" }).focus();
    await page.keyboard.press("ArrowRight");
    assert.ok(await page.getByRole("radio", { name: "1 h" }).isChecked());
  }));

test("an address that is no page says so", () =>
  visit("/console/nonsense", async (page) => {
    await page.getByRole("heading", { name: "There is no such page" }).waitFor();
  }));

for (const { name, path } of PAGES) {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of WIDTHS) {
      test(`${name} at ${width} pixels in ${colorScheme}: nothing is cut off or hard to read`, () =>
        visit(
          path,
          async (page) => {
            await page.locator(".rows a, dd:not(:text('–'))").first().waitFor();
            await page.screenshot({ path: join(SCREENSHOTS, `${name}-${width}-${colorScheme}.png`), fullPage: true });
            const { scrollWidth, clientWidth } = await page.evaluate(() => {
              const { scrollWidth, clientWidth } = document.documentElement;
              return { scrollWidth, clientWidth };
            });
            assert.equal(scrollWidth, clientWidth, "the page scrolls sideways");
            // As a debugger would, past the policy.
            await page.evaluate(AXE);
            const { violations } = await page.evaluate(() => globalThis.axe.run());
            assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), []);
          },
          { width, colorScheme },
        ));
    }
  }
}

test("the first load stays within its budget", async () => {
  const page = await download("/");
  const addresses = [...page.body.toString().matchAll(/(?:src|href)="(\/console\/[^"]+)"/g)].map(([, url]) => url);
  assert.ok(addresses.length >= 2, "a script and a style");
  let bytes = page.bytes;
  for (const address of addresses) {
    const file = await download(address);
    assert.equal(file.headers["cache-control"], "public, max-age=31536000, immutable");
    bytes += file.bytes;
  }
  console.log(`# first load: ${bytes} bytes`);
  assert.ok(bytes < FIRST_LOAD_BYTES_MAX, `${bytes} bytes`);
});

/** What a browser would be sent, compressed, and what it comes to. */
async function download(path) {
  const headers = { accept: "text/html,*/*;q=0.8", "accept-encoding": "gzip" };
  const answer = await new Promise((resolve, reject) => get(server.address + path, { headers }, resolve).on("error", reject));
  assert.equal(answer.statusCode, 200);
  assert.equal(answer.headers["content-encoding"], "gzip");
  const sent = Buffer.concat(await answer.toArray());
  return { headers: answer.headers, bytes: sent.length, body: gunzipSync(sent) };
}
