/** A real server, with its log in memory, on a port of its own. `LONGWAVE_BIN` names the binary. */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export class Longwave {
  readonly url: string;
  #child: ChildProcess;

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.#child = child;
  }

  static async start(...options: string[]): Promise<Longwave> {
    const binary = process.env["LONGWAVE_BIN"] ?? fileURLToPath(new URL("../../../target/debug/longwave", import.meta.url));
    if (!existsSync(binary)) {
      throw new Error(`there is no server at ${binary}: run \`cargo build -p longwave\`, or name one by LONGWAVE_BIN`);
    }
    const child = spawn(binary, ["serve", "--listen", "127.0.0.1:0", "--log", "memory", ...options], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    for await (const line of createInterface({ input: child.stdout })) {
      const url = /^listening on (\S+)/.exec(line)?.[1];
      if (url) return new Longwave(url, child);
    }
    throw new Error("the server went before it listened");
  }

  /** The value of a metric, with its labels as they stand in the answer. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const line = text.split("\n").find((line) => line.startsWith(`${name} `));
    return Number(line?.slice(name.length));
  }

  async publish(topic: string, data: string, query = ""): Promise<string> {
    const response = await fetch(`${this.url}/topics/${topic}${query}`, { method: "POST", body: data });
    if (!response.ok) throw new Error(`${topic}: ${await response.text()}`);
    return (await response.json()).id;
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await gone;
  }
}
