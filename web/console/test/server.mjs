// A Longwave server of this source on a free port, with its log in memory, and a Chromium to look at it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const BIN = process.env.LONGWAVE_BIN ?? fileURLToPath(new URL("../../../target/debug/longwave", import.meta.url));
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

/** Starts a server; its address, and how to stop it. */
export async function startServer(listen = "127.0.0.1:0") {
  const child = spawn(BIN, ["serve", "--log", "memory", "--listen", listen], { stdio: ["ignore", "pipe", "inherit"] });
  const stop = async () => {
    if (child.exitCode !== null) return;
    child.kill("SIGTERM");
    await once(child, "exit");
  };
  for await (const line of createInterface({ input: child.stdout })) {
    const address = /^listening on (http:\S+)/.exec(line)?.[1];
    if (address) {
      child.stdout.resume();
      return { address, stop };
    }
  }
  throw new Error(`${BIN} listens on nothing`);
}

/** Starts Chromium. */
export const startBrowser = () =>
  chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGUMENTS });

/** Publishes a text. */
export async function publish(address, topic, text) {
  const response = await fetch(`${address}/topics/${topic}`, { method: "POST", body: text });
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
}
