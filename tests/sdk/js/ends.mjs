// How an answer ends is told: whatever ends it early is an error of the SDK's own, never silent success.
//
// All here is plain use; where a `fetch` is given, it only looks at the heads of answers, or is the subject.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";
import { APICallError } from "ai";
import { resumingFetch } from "longwave/fetch";
import OpenAI from "openai";

import { expectError, fetchJson, waitUntil } from "./harness.mjs";
import { IncompleteError, ResponseFailed, WAYS, anthropicClient, anthropicRequest, chatRequest, openaiClient, responsesRequest } from "./sdks.mjs";
import { USE_CHAT } from "./use_chat.mjs";

// What upstream does, and the state in which the stream ends.
const EARLY = {
  "truncated in order": ["end-early=8", "truncated"],
  "cut off": ["cut=8", "truncated"],
  "reset": ["cut=8 reset", "truncated"],
  "cut in the middle of an event": ["cut-bytes=2500", "truncated"],
  "told to have failed": ["error-at=8", "error"],
  "silent for too long": ["hang-at=8", "timeout"],
};
/** A route on which upstream may be silent for less than a second. */
const IMPATIENT = "/impatient";
/** Long and slow enough to be in the middle of it. */
const SLOW = "words=400 delay=20ms";

export function cases() {
  const ways = [...WAYS, USE_CHAT];
  return [
    ...ways.flatMap((way) => Object.entries(EARLY).map(([what, how]) => endsEarly(way, what, ...how))),
    ...ways.flatMap((way) => REFUSALS.map((refusal) => refused(way, ...refusal))),
    ...ways.flatMap((way) => Object.entries(LOST).map((where) => connectionLost(way, ...where))),
    ...OPENERS.flatMap((opener) => [cancelled(opener), left(opener), cancelledByLeaving(opener)]),
  ];
}

function endsEarly(way, what, directives, state) {
  return {
    name: `${way.name} raises when upstream's answer is ${what}`,
    run: async (stage) => {
      const base = stage.gateway + (state === "timeout" ? IMPATIENT : "");
      const heads = [];
      const fetch = keepingHeads(heads);
      const error = await expectError(() => way.ask(base, stage.prompt(`words=60 ${directives}`), { fetch }));
      expectTold(way, error);
      await stage.onlyCall();
      assert.equal(heads.length, 1, "one answer");
      assert.equal(await stateAtEnd(stage, heads[0]), state);
    },
  };
}

/** The platform's `fetch`, keeping the heads of answers. */
function keepingHeads(heads) {
  return async (...request) => {
    const response = await fetch(...request);
    heads.push(response.headers);
    return response;
  };
}

/** The SDK was told of the end in its dialect, as against having lost its connection or finding the answer short. */
function expectTold({ family }, error) {
  const told = {
    openai: () => error instanceof ResponseFailed || (error instanceof OpenAI.APIError && !(error instanceof OpenAI.APIConnectionError)),
    anthropic: () => error instanceof Anthropic.APIError && !(error instanceof Anthropic.APIConnectionError),
    ollama: () => error instanceof Error && !(error instanceof IncompleteError) && !isLostConnection(error),
    ai: () => !(error instanceof IncompleteError) && !isLostConnection(error),
    ui: () => !isLostConnection(error),
  };
  if (!told[family]()) throw new Error("this is not how the dialect tells of an error", { cause: error });
}

/** How `fetch` says it, in itself or wrapped. */
function isLostConnection(error) {
  return error instanceof TypeError || error?.cause instanceof TypeError;
}

/** The state of the stream that an answer's head names, once it has ended. */
async function stateAtEnd(stage, headers) {
  let state;
  await waitUntil("the stream has ended", async () => {
    ({ state } = await fetchJson(`${stage.gateway}${headers.get("longwave-stream")}?info`));
    return state !== "running";
  });
  return state;
}

// What upstream does before there is a first token, and the status that comes of it. `error-first` and the rest are answers
// with status 200: what becomes of them is known only when the first event was seen.
const REFUSALS = [
  ["is refused for a bad request", "status=400", 400],
  ["is refused for its key", "status=401", 401],
  ["is asked to slow down", "status=429", 429],
  ["meets a broken upstream", "status=500", 500],
  ["fails in its first event", "error-first", ">=400"],
  ["gets an empty answer", "end-early=0", ">=500"],
  ["is cut off before the first event", "cut=0", ">=500"],
  ["gets nothing for too long", "hang-at=0", ">=500"],
];

/** The classes that the SDKs have for a status; the AI SDK has one for all, and Ollama's does not export its own. */
const CLASSES = {
  openai: {
    400: OpenAI.BadRequestError,
    401: OpenAI.AuthenticationError,
    429: OpenAI.RateLimitError,
    500: OpenAI.InternalServerError,
    ">=400": OpenAI.APIError,
    ">=500": OpenAI.InternalServerError,
  },
  anthropic: {
    400: Anthropic.BadRequestError,
    401: Anthropic.AuthenticationError,
    429: Anthropic.RateLimitError,
    500: Anthropic.InternalServerError,
    ">=400": Anthropic.APIError,
    ">=500": Anthropic.InternalServerError,
  },
};

function refused(way, what, directives, status) {
  return {
    name: `${way.name} raises the error of its status when it ${what}`,
    run: async (stage) => {
      const base = stage.gateway + (directives.startsWith("hang") ? IMPATIENT : "");
      const heads = [];
      const options = { maxRetries: 0, fetch: keepingHeads(heads) };
      const error = await expectError(() => way.ask(base, stage.prompt(directives), options));
      const kind = CLASSES[way.family]?.[status] ?? (way.family === "ollama" ? Error : APICallError);
      if (!(error instanceof kind)) throw new Error(`this is no ${kind.name}`, { cause: error });
      const got = error.status ?? error.statusCode ?? error.status_code;
      const [least] = String(status).match(/\d+$/);
      const fits = typeof status === "string" ? got >= Number(least) : got === status;
      assert.ok(fits, `the status is ${got}`);
      assert.equal(heads[0].get("longwave-stream"), null, "an answer without a token is no stream");
      await stage.onlyCall();
    },
  };
}

/** Where the only connection is cut, by the relay's plans. */
const LOST = { "between head and body": "border", "in the middle of the body": "byte" };

/** Plain use gets no help, and must not take the part for the whole. */
function connectionLost(way, where, at) {
  return {
    name: `${way.name} raises without longwave/fetch when its connection is cut ${where}`,
    run: async (stage) => {
      const base = await stage.cuttingLink(at, 1);
      const error = await expectError(() => way.ask(base, stage.prompt("words=60"), { maxRetries: 0 }));
      if (error instanceof IncompleteError) throw new Error("the answer ended as if it were whole", { cause: error });
      assert.equal(await stage.faultsSoFar(), 1);
      await stage.onlyCall();
    },
  };
}

// Streams that are still open.

const OPENERS = [
  {
    name: "openai chat",
    family: "openai",
    begin: (base, prompt, options) => openaiClient(base, options).chat.completions.create({ stream: true, ...chatRequest(prompt) }),
  },
  {
    name: "openai responses",
    family: "openai",
    begin: (base, prompt, options) => openaiClient(base, options).responses.create({ stream: true, ...responsesRequest(prompt) }),
  },
  {
    name: "anthropic messages",
    family: "anthropic",
    begin: (base, prompt, options) => anthropicClient(base, options).messages.create({ stream: true, ...anthropicRequest(prompt) }),
  },
];

/** Begins a stream and takes some events; gives what iterates over the rest, and the head of the answer. */
async function begun({ begin }, stage, directives, options) {
  const { data, response } = await begin(stage.gateway, stage.prompt(directives), options).withResponse();
  const events = data[Symbol.asyncIterator]();
  for (let count = 0; count < 8; count += 1) await events.next();
  return { events, headers: response.headers };
}

function cancelled(opener) {
  return {
    name: `${opener.name} tells of being cancelled by another client`,
    run: async (stage) => {
      const { events, headers } = await begun(opener, stage, SLOW);
      const url = `${stage.gateway}${headers.get("longwave-stream")}`;
      assert.equal((await fetchJson(url, { method: "DELETE" })).state, "cancelled");
      const error = await expectError(async () => {
        for (let step = await events.next(); !step.done; step = await events.next()) {
          if (step.value.type === "response.failed") throw new ResponseFailed();
        }
      });
      expectTold(opener, error);
      await waitUntil("upstream was left", async () => (await stage.onlyCall()).client_left);
      assert.equal((await fetchJson(url, { method: "DELETE" })).state, "cancelled", "cancelled twice");
    },
  };
}

function left(opener) {
  return {
    name: `${opener.name} goes on when its client leaves`,
    run: async (stage) => {
      const { events, headers } = await begun(opener, stage, "words=40 delay=5ms");
      await events.return();
      assert.equal(await stateAtEnd(stage, headers), "done");
      assert.equal((await stage.onlyCall()).state, "whole");
    },
  };
}

function cancelledByLeaving(opener) {
  return {
    name: `${opener.name} is cancelled by a client that leaves with onCancel: "cancel"`,
    run: async (stage) => {
      const fetch = resumingFetch({ onCancel: "cancel" });
      const { events, headers } = await begun(opener, stage, SLOW, { fetch });
      await events.return();
      await waitUntil("upstream was left", async () => (await stage.onlyCall()).client_left);
      assert.equal(await stateAtEnd(stage, headers), "cancelled");
    },
  };
}
