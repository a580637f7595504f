/** One suite in three runtimes: Node, Bun and Chromium. What each case says in each is a test of its own here. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { type TestContext, after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

import { withPage } from "./chromium.js";
import { Longwave } from "./longwave.js";
import { ScriptedServer } from "./scripted.js";
import type { Result, Surroundings } from "./suite/harness.js";

const SUITE_LIMIT_MS = 300_000;
let server: ScriptedServer;
let longwave: Longwave;
let surroundings: Surroundings;
let suite: string;

before(async () => {
  server = await ScriptedServer.start();
  longwave = await Longwave.start();
  server.upstream = longwave.url;
  surroundings = { server: server.url, otherOrigin: server.url.replace("127.0.0.1", "localhost"), longwave: longwave.url };
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("suite/main.js", import.meta.url))],
    bundle: true,
    // The package says that importing it has no effects. Importing its tests has.
    ignoreAnnotations: true,
    format: "esm",
    target: "es2022",
    write: false,
  });
  suite = outputFiles[0]?.text ?? "";
});

after(async () => {
  await server.stop();
  await longwave.stop();
});

for (const [name, program] of [
  ["Node", process.execPath],
  ["Bun", fileURLToPath(new URL("../node_modules/.bin/bun", import.meta.url))],
] as const) {
  test(name, { timeout: SUITE_LIMIT_MS }, async (context) => {
    const file = fileURLToPath(new URL(`suite-${name.toLowerCase()}.mjs`, import.meta.url));
    const print = "(result) => process.stdout.write(`RESULT ${JSON.stringify(result)}\\n`)";
    // Node 20 has no `WebSocket` of its own.
    const socket = name === "Node" ? `import { WebSocket } from "ws";\nglobalThis.WebSocket ??= WebSocket;\n` : "";
    const start = `${socket}await runCases(${JSON.stringify(surroundings)}, ${print});\nprocess.exit(0);`;
    await writeFile(file, `${suite}\n${start}\n`);
    const child = spawn(program, [file], { stdio: ["ignore", "pipe", "inherit"] });
    context.signal.addEventListener("abort", () => child.kill());
    const results: Result[] = [];
    for await (const line of createInterface({ input: child.stdout })) {
      if (line.startsWith("RESULT ")) results.push(JSON.parse(line.slice("RESULT ".length)));
      else console.log(line);
    }
    await report(context, results);
  });
}

test("Chromium", { timeout: SUITE_LIMIT_MS }, async (context) => {
  const start = `runCases(${JSON.stringify(surroundings)}, (result) => report(result)).then(() => report(null));`;
  server.files.set("/suite.js", { type: "text/javascript", body: `${suite}\n${start}\n` });
  server.files.set("/suite", { type: "text/html", body: "<!doctype html><title>Suite</title>" });
  const results: Result[] = [];
  await withPage(async (page) => {
    let settle: { resolve: () => void; reject: (reason: Error) => void } | undefined;
    const over = new Promise<void>((resolve, reject) => (settle = { resolve, reject }));
    page.on("pageerror", (error) => settle?.reject(error));
    page.on("crash", () => settle?.reject(new Error("the page crashed")));
    page.on("console", (message) => message.type() === "log" && console.log(message.text()));
    await page.exposeFunction("report", (result: Result | null) => {
      if (result) results.push(result);
      else settle?.resolve();
    });
    await page.goto(`${server.url}/suite`);
    await Promise.all([page.addScriptTag({ url: "/suite.js", type: "module" }), over]);
  });
  await report(context, results);
});

async function report(context: TestContext, results: Result[]): Promise<void> {
  assert.ok(results.length > 0, "no case was run");
  for (const { name, error } of results) {
    await context.test(name, () => {
      if (error) throw new Error(error);
    });
  }
}
