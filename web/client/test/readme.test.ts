/** The first example of the README does what it says, over a connection that breaks. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { promisify } from "node:util";

import { FakeGateway, events } from "./gateway.js";
import { Longwave } from "./longwave.js";

test("the README's example of a fetch prints the whole answer", { timeout: 60_000 }, async () => {
  const chunk = (content: string) =>
    `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", choices: [{ index: 0, delta: { content } }] })}\n\n`;
  const gateway = await FakeGateway.start(events([chunk("Waves "), chunk("carry "), chunk("🌊."), "data: [DONE]\n\n"]));
  gateway.faults = [{ refuse: true }, { cutAfter: 200 }, { refuse: true }];
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const [, example = ""] = /## `longwave\/fetch`.*?```js\n(.*?)```/s.exec(readme) ?? [];
  const here = example.replace("http://127.0.0.1:4480", gateway.url);
  assert.notEqual(here, example);
  const file = new URL("readme-example.mjs", import.meta.url);
  await writeFile(file, here);
  const environment = { ...process.env, OPENAI_API_KEY: "k" };
  const { stdout } = await promisify(execFile)(process.execPath, [file.pathname], { env: environment });
  assert.equal(stdout, "Waves carry 🌊.");
  assert.equal(gateway.generations, 1);
  assert.equal(gateway.count("GET"), 2);
  await gateway.stop();
});

test("the README's examples of EventSource and of a socket do what they say", { timeout: 60_000 }, async () => {
  const longwave = await Longwave.start();
  await longwave.publish("news", "first", "?end");
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const run = async (name: string, prefix: string, suffix: string): Promise<string> => {
    const [, example = ""] = new RegExp(`## \`${name}\`.*?\`\`\`js\\n(.*?)\`\`\``, "s").exec(readme) ?? [];
    const file = new URL(`readme-${name.replace("/", "-")}.mjs`, import.meta.url);
    await writeFile(file, prefix + example.replace("http://127.0.0.1:4480", longwave.url) + suffix);
    return (await promisify(execFile)(process.execPath, [file.pathname])).stdout;
  };
  assert.equal(await run("longwave", "", ""), 'message first\nlongwave.end {"reason":"done"}\n');
  const socket = `import { WebSocket } from "ws";\nglobalThis.WebSocket ??= WebSocket;\n`;
  assert.equal(await run("longwave/websocket", socket, "setTimeout(() => room.close(), 1_000);\n"), "{ from: 'me', text: 'hello' }\n");
  await longwave.stop();
});
