// What all cases share: how they are told apart and counted, what upstream really sent, and links that cut connections.
//
// Read `Stage` first. A case is `{ name, run(stage) }`; its name is a sentence about what holds.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";

/** Where a case plays: the servers, and a prompt that no other case has. */
export class Stage {
  #links = [];

  constructor(name, { gateway, upstream, relay, seed }) {
    Object.assign(this, { name, gateway, upstream, relay, seed: `${seed}/${name}` });
    // Prompts are found again by this, so none may be the beginning of another one.
    this.marker = `<${name} ${seed}>`;
  }

  /** A prompt of this case's own. The simulator's `directives` don't change what it answers. */
  prompt(directives = "words=24") {
    return `${this.marker} Tell me about rivers. [simulate: delay=0 ${directives}]`;
  }

  /** What upstream says of every answer that this case led to. */
  async calls() {
    const query = new URLSearchParams({ contains: this.marker });
    const { answers } = await fetchJson(`${this.upstream}/simulator/answers?${query}`);
    return answers;
  }

  /** The same, of a case that leads to one call. */
  async onlyCall() {
    const calls = await this.calls();
    assert.equal(calls.length, 1, "upstream is called once");
    return calls[0];
  }

  /** The URL of a way to the gateway on which connections are cut. `at` is what `relay.mjs` tells. */
  async cuttingLink(at, cuts) {
    const link = await fetchJson(`${this.relay}/links`, { method: "POST", value: { at, cuts, seed: this.seed } });
    this.#links.push(`${this.relay}/links/${link.id}`);
    return link.url;
  }

  /** How many connections were cut on the links of this case. */
  async faultsSoFar() {
    return this.#sum("GET");
  }

  /** Ends the links; how many connections they have cut. */
  async close() {
    return this.#sum("DELETE");
  }

  async #sum(method) {
    const reports = await Promise.all(this.#links.map((link) => fetchJson(link, { method })));
    return reports.reduce((sum, { faults }) => sum + faults, 0);
  }
}

/** Asks past everything that is tested, to judge it. */
export async function fetchJson(url, { method = "GET", value, headers = {} } = {}) {
  const body = value === undefined ? undefined : JSON.stringify(value);
  const response = await fetch(url, { method, body, headers: { "content-type": "application/json", ...headers } });
  if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** The answer is the one that left upstream, whole, and upstream was asked for it once. */
export async function expectWhatUpstreamSent(stage, answer) {
  await waitUntil("upstream has ended", async () => (await stage.onlyCall()).state !== "running");
  const sent = await stage.onlyCall();
  // An SDK may close at the last event; a gateway that stands in between reads to the end.
  const ends = stage.gateway === stage.upstream ? ["whole", "client-left"] : ["whole"];
  assert.ok(ends.includes(sent.state), `upstream's answer is ${sent.state}`);
  assert.equal(answer.text, sent.text);
  assert.deepEqual(answer.tools, sent.tools);
  assert.ok(sent.text || sent.tools.length > 0, "upstream sent something to compare with");
  if (answer.hasUsage === false) return;
  assert.ok(answer.inputTokens > 0, "usage tells the input tokens");
  assert.ok(answer.outputTokens > 0, "usage tells the output tokens");
}

/** The error that `ask` ends with. An answer without one would be silent success. */
export async function expectError(ask) {
  let answer;
  try {
    answer = await ask();
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    return error;
  }
  return assert.fail(`no error, but an answer: ${inspect(answer)}`);
}

/** Waits for a state that can only be looked at. */
export async function waitUntil(what, holds) {
  const deadline = performance.now() + HANG_MS / 2;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `never: ${what}`);
    await sleep(20);
  }
}

/** Runs the cases, several at a time, and prints a line for each; whether all hold. */
export async function run(cases, settings) {
  assert.equal(new Set(cases.map(({ name }) => name)).size, cases.length, "each case has a name of its own");
  const pattern = new RegExp(settings.only);
  const chosen = cases.filter(({ name }) => pattern.test(name));
  const waiting = chosen.values();
  let failed = 0;
  let faults = 0;
  const work = async () => {
    for (const { name, run } of waiting) {
      const stage = new Stage(name, settings);
      const failure = await failureOf(run(stage));
      faults += await stage.close();
      if (failure === undefined) {
        console.log(`ok ${name}`);
      } else {
        failed += 1;
        console.log(`FAILED ${name}\n    seed ${settings.seed}\n    ${failure.replaceAll("\n", "\n    ")}`);
      }
    }
  };
  await Promise.all(Array.from({ length: settings.jobs }, work));
  console.log(`${faults} faults`);
  console.log(`${chosen.length - failed} passed, ${failed} failed`);
  return failed === 0;
}

async function failureOf(running) {
  const hung = new AbortController();
  const limit = sleep(HANG_MS, `it hangs for ${HANG_MS} ms`, { signal: hung.signal }).catch(() => {});
  try {
    return await Promise.race([running.then(() => undefined), limit]);
  } catch (error) {
    return inspect(error, { depth: 4 });
  } finally {
    hung.abort();
  }
}

/** How long anything may take before it counts as hung. Far more than a loaded machine needs. */
const HANG_MS = 60_000;
