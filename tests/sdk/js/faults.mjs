// Connections are cut, and with `longwave/fetch` no SDK sees any of it: the answer is whole, and upstream was asked once.

import assert from "node:assert/strict";

import { resumingFetch } from "longwave/fetch";

import { expectWhatUpstreamSent } from "./harness.mjs";
import { WAYS } from "./sdks.mjs";
import { USE_CHAT } from "./use_chat.mjs";

export const CUTS_WITHOUT_END = 1000;

// Where connections are cut, by which plan of the relay, how many of them, and what is answered.
const PLANS = [
  ["at every event border", "border", CUTS_WITHOUT_END, "words=16"],
  ["at every event border of a tool call", "border", CUTS_WITHOUT_END, "tool"],
  ["at random bytes", "byte", CUTS_WITHOUT_END, "words=48 unicode"],
  ["before there is an answer", "request", 3, "words=8"],
  ["anywhere", "mixed", CUTS_WITHOUT_END, "words=32 unicode"],
  ["anywhere while the answer comes slowly", "mixed", CUTS_WITHOUT_END, "words=16 delay=3ms"],
];

export function cases() {
  return [...WAYS, USE_CHAT].flatMap((way) => PLANS.map((plan) => cut(way, ...plan)));
}

function cut({ name, ask }, where, at, cuts, directives) {
  return {
    name: `${name} is whole when it is cut ${where}`,
    run: async (stage) => {
      const link = await stage.cuttingLink(at, cuts);
      const answer = await ask(link, stage.prompt(directives), { fetch: resumingFetch() });
      await expectWhatUpstreamSent(stage, answer);
      assert.ok((await stage.faultsSoFar()) > 0, "connections are cut");
    },
  };
}
