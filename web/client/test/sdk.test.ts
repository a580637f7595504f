/** The official clients, unmodified but for their `fetch`: cut at every byte, they see the whole answer and no error. */

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import Anthropic from "@anthropic-ai/sdk";
import { DefaultChatTransport, readUIMessageStream, streamText } from "ai";
import { resumingFetch } from "longwave/fetch";
import OpenAI from "openai";

import { type Answer, FakeGateway, events } from "./gateway.js";

const WORDS = ["Waves ", "carry ", "żółć ", "and 🌊", "."];
const TEXT = WORDS.join("");

const data = (value: unknown) => `data: ${JSON.stringify(value)}\n\n`;
const named = <Event extends { type: string }>(value: Event) => `event: ${value.type}\n${data(value)}`;

const chunk = (choice: object, rest = {}) =>
  data({ id: "c", object: "chat.completion.chunk", created: 1, model: "m", choices: [{ index: 0, ...choice }], ...rest });
const CHAT = events([
  chunk({ delta: { role: "assistant", content: "" }, finish_reason: null }),
  ...WORDS.map((content) => chunk({ delta: { content }, finish_reason: null })),
  chunk({ delta: {}, finish_reason: "stop" }),
  "data: [DONE]\n\n",
]);

const message = { id: "m", type: "message", role: "assistant", status: "in_progress", content: [] };
const response = { id: "r", object: "response", created_at: 1, model: "m", status: "in_progress", output: [] };
const textPart = { type: "output_text", text: TEXT, annotations: [] };
const at = { item_id: "m", output_index: 0, content_index: 0 };
const usage = {
  input_tokens: 1,
  input_tokens_details: { cached_tokens: 0 },
  output_tokens: 5,
  output_tokens_details: { reasoning_tokens: 0 },
  total_tokens: 6,
};
const RESPONSES = events(
  [
    { type: "response.created", response },
    { type: "response.output_item.added", output_index: 0, item: message },
    { type: "response.content_part.added", ...at, part: { ...textPart, text: "" } },
    ...WORDS.map((delta) => ({ type: "response.output_text.delta", ...at, delta, logprobs: [] })),
    { type: "response.output_text.done", ...at, text: TEXT, logprobs: [] },
    { type: "response.content_part.done", ...at, part: textPart },
    {
      type: "response.output_item.done",
      output_index: 0,
      item: { ...message, status: "completed", content: [textPart] },
    },
    {
      type: "response.completed",
      response: { ...response, status: "completed", output: [{ ...message, status: "completed", content: [textPart] }], usage },
    },
  ].map((event, index) => named(Object.assign(event, { sequence_number: index }))),
);

const ANTHROPIC = events(
  [
    {
      type: "message_start",
      message: { id: "m", type: "message", role: "assistant", model: "m", content: [], stop_reason: null, stop_sequence: null, usage: { input_tokens: 1, output_tokens: 1 } },
    },
    { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
    { type: "ping" },
    ...WORDS.map((text) => ({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text } })),
    { type: "content_block_stop", index: 0 },
    { type: "message_delta", delta: { stop_reason: "end_turn", stop_sequence: null }, usage: { output_tokens: 5 } },
    { type: "message_stop" },
  ].map((event) => named(event)),
);

const UI = events([
  data({ type: "start", messageId: "m" }),
  data({ type: "text-start", id: "t" }),
  ...WORDS.map((delta) => data({ type: "text-delta", id: "t", delta })),
  data({ type: "text-end", id: "t" }),
  data({ type: "finish" }),
  "data: [DONE]\n\n",
]);

/** How each client reads an answer to its end. */
const CLIENTS: Record<string, { answer: Answer; read: (url: string) => Promise<string> }> = {
  "openai, chat": {
    answer: CHAT,
    async read(url) {
      const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "k", fetch: resumingFetch(), maxRetries: 0 });
      const stream = await client.chat.completions.create({
        model: "m",
        messages: [{ role: "user", content: "?" }],
        stream: true,
      });
      let text = "";
      for await (const { choices } of stream) text += choices[0]?.delta.content ?? "";
      return text;
    },
  },
  "openai, responses": {
    answer: RESPONSES,
    async read(url) {
      const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "k", fetch: resumingFetch(), maxRetries: 0 });
      const stream = client.responses.stream({ model: "m", input: "?" });
      return (await stream.finalResponse()).output_text;
    },
  },
  anthropic: {
    answer: ANTHROPIC,
    async read(url) {
      const client = new Anthropic({ baseURL: url, apiKey: "k", fetch: resumingFetch(), maxRetries: 0 });
      const stream = client.messages.stream({
        model: "m",
        max_tokens: 9,
        messages: [{ role: "user", content: "?" }],
      });
      return stream.finalText();
    },
  },
  "the AI SDK, chat": {
    answer: CHAT,
    read: (url) => streamed((openai) => openai.chat("m"), url),
  },
  "the AI SDK, responses": {
    answer: RESPONSES,
    read: (url) => streamed((openai) => openai.responses("m"), url),
  },
  "the AI SDK's chat transport": {
    answer: UI,
    async read(url) {
      const transport = new DefaultChatTransport({ api: `${url}/api/chat`, fetch: resumingFetch() });
      const stream = await transport.sendMessages({
        trigger: "submit-message",
        chatId: "c",
        messageId: undefined,
        messages: [{ id: "u", role: "user", parts: [{ type: "text", text: "?" }] }],
        abortSignal: undefined,
      });
      let text = "";
      const errors: unknown[] = [];
      for await (const { parts } of readUIMessageStream({ stream, onError: (error) => errors.push(error) })) {
        text = parts.map((part) => (part.type === "text" ? part.text : "")).join("");
      }
      assert.deepEqual(errors, []);
      return text;
    },
  },
};

async function streamed(
  model: (provider: ReturnType<typeof createOpenAI>) => Parameters<typeof streamText>[0]["model"],
  url: string,
): Promise<string> {
  const provider = createOpenAI({ baseURL: `${url}/v1`, apiKey: "k", fetch: resumingFetch() });
  const errors: unknown[] = [];
  const result = streamText({ model: model(provider), prompt: "?", maxRetries: 0, onError: ({ error }) => void errors.push(error) });
  const text = await result.text;
  assert.deepEqual(errors, []);
  assert.equal(await result.finishReason, "stop");
  return text;
}

describe("an official client", { timeout: 300_000 }, () => {
  let gateway: FakeGateway;
  const random = Math.random;
  before(() => {
    Math.random = () => 0;
  });
  after(() => {
    Math.random = random;
  });
  afterEach(() => gateway.stop());

  for (const [name, { answer, read }] of Object.entries(CLIENTS)) {
    test(`${name}: reads a whole answer that is not cut`, async () => {
      gateway = await FakeGateway.start(answer);
      assert.equal(await read(gateway.url), TEXT);
      assert.equal(gateway.count("GET"), 0);
    });

    test(`${name}: reads the whole answer, wherever it is cut`, async () => {
      gateway = await FakeGateway.start(answer);
      const { length } = gateway.bytes("stream-000000000000001");
      for (const cutAfter of cuts(gateway, length)) {
        gateway.faults = [{ cutAfter, heartbeats: cutAfter % 3 }, { cutAfter: 3 }, { refuse: true }];
        const [generations, resumes] = [gateway.generations, gateway.count("GET")];
        assert.equal(await read(gateway.url), TEXT, `cut after ${cutAfter} bytes`);
        assert.equal(gateway.generations, generations + 1);
        assert.ok(gateway.count("GET") > resumes);
      }
    });
  }
});

/** Every border of an event, and bytes spread over the rest. */
function cuts(gateway: FakeGateway, length: number): number[] {
  const found = new Set<number>();
  const text = gateway.bytes("stream-000000000000001").toString("latin1");
  for (const { index } of text.matchAll(/\n\n/g)) {
    for (const near of [index, index + 1, index + 2, index + 3]) found.add(near);
  }
  for (let at = 0; at < length; at += CUT_STEP) found.add(at);
  return [...found].filter((at) => at < length);
}

/** Prime, so that cuts fall on all parts of an event. */
const CUT_STEP = 17;
