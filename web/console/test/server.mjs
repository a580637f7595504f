// A Longwave server of this source on a free port, with its log in memory, and a Chromium to look at it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const BIN = process.env.LONGWAVE_BIN ?? fileURLToPath(new URL("../../../target/debug/longwave", import.meta.url));
const SIMULATOR = fileURLToPath(new URL("../../../examples/llm-upstream/simulator.mjs", import.meta.url));
const PIPED = { stdio: ["ignore", "pipe", "inherit"] };
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

/** Starts a server; its address, and how to stop it. */
export async function startServer(listen = "127.0.0.1:0", ...flags) {
  const child = spawn(BIN, ["serve", "--log", "memory", "--listen", listen, ...flags], PIPED);
  return started(child, /^listening on (http:\S+)/);
}

/** Starts the simulation of LLM providers that the examples use. */
export function startUpstream() {
  return started(spawn(process.execPath, [SIMULATOR, "--port", "0"], PIPED), /on (http:\S+)/);
}

/** The address that a program tells of on its standard output, and how to stop it. */
async function started(child, address) {
  const stop = async () => {
    if (child.exitCode !== null) return;
    child.kill("SIGTERM");
    await once(child, "exit");
  };
  for await (const line of createInterface({ input: child.stdout })) {
    const told = address.exec(line)?.[1];
    if (told) {
      child.stdout.resume();
      return { address: told, stop };
    }
  }
  throw new Error(`${child.spawnfile} listens on nothing`);
}

/** Starts Chromium. */
export const startBrowser = () =>
  chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGUMENTS });

/** Publishes a text. */
export async function publish(address, topic, text) {
  const response = await fetch(`${address}/topics/${topic}`, { method: "POST", body: text });
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
}
