// Plain use: each SDK as its documentation has it, only with another base URL.
//
// What upstream sends also comes in the shapes that are hard on parsers: other line ends, comments, bytes one at a time.

import assert from "node:assert/strict";

import { expectWhatUpstreamSent } from "./harness.mjs";
import { WAYS, WHOLE } from "./sdks.mjs";
import { USE_CHAT } from "./use_chat.mjs";

const TRAVELS = {
  "as it is": "words=24",
  "with text that is hard on parsers": "words=60 unicode",
  "with a tool call": "tool",
  "byte by byte": "words=12 unicode pace=byte",
  "all at once": "words=60 pace=once",
  "cut in the middle of characters": "words=40 unicode pace=split",
  "with CRLF and no space": "words=12 crlf no-space",
  "compressed": "words=40 gzip",
  "with comments and a retry between events": "words=24 comments retry=20",
  "with ids of upstream's own": "words=12 ids",
  "with [DONE] at the end": "words=12 done",
  "slowly": "words=8 delay=20ms",
};

export function cases() {
  const streamed = [...WAYS, USE_CHAT].flatMap((way) => Object.entries(TRAVELS).map((travel) => plain(way, ...travel)));
  return [...streamed, ...WHOLE.map(whole)];
}

function plain({ name, ask }, travel, directives) {
  return {
    name: `${name} streams ${travel}`,
    run: async (stage) => expectWhatUpstreamSent(stage, await ask(stage.gateway, stage.prompt(directives))),
  };
}

function whole({ name, ask }) {
  return {
    name: `${name} answers without a stream`,
    run: async (stage) => {
      const answer = await ask(stage.gateway, stage.prompt());
      assert.equal(answer.text, (await stage.onlyCall()).text);
    },
  };
}
