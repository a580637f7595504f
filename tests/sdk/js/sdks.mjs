// The official SDKs, unmodified, each asked for a streamed answer in every way that it offers.
//
// Read `WAYS` first: what differs between SDKs ends here. An answer is `{ text, tools: [{name, input}], inputTokens,
// outputTokens }`, whichever SDK gave it.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import Anthropic from "@anthropic-ai/sdk";
import { jsonSchema, streamText, tool } from "ai";
import { Ollama } from "ollama";
import OpenAI from "openai";

/** An answer that does not hang together. */
export class IncompleteError extends Error {}

/** The event `response.failed`: an SDK may yield it like any other, and a program is to look at it. */
export class ResponseFailed extends Error {}

export const openaiClient = (base, options = {}) => new OpenAI({ baseURL: `${base}/v1`, apiKey: "test", ...options });
export const anthropicClient = (base, options = {}) => new Anthropic({ baseURL: base, apiKey: "test", ...options });

const messages = (prompt) => [{ role: "user", content: prompt }];

export const chatRequest = (prompt) => ({
  model: MODEL,
  messages: messages(prompt),
  tools: [{ type: "function", function: { name: "weather", description: "Tells it", parameters: PARAMETERS } }],
  stream_options: { include_usage: true },
});

/** The same for an answer that is no stream, and for Ollama, which has no such options. */
const withoutStream = ({ stream_options: _, ...request }) => request;

export const responsesRequest = (prompt) => ({
  model: MODEL,
  input: prompt,
  tools: [{ type: "function", name: "weather", description: "Tells it", parameters: PARAMETERS, strict: false }],
});

export const anthropicRequest = (prompt) => ({
  model: MODEL,
  max_tokens: TOKENS_MAX,
  messages: messages(prompt),
  tools: [{ name: "weather", description: "Tells it", input_schema: PARAMETERS }],
});

// How what each SDK yields becomes an answer.

export async function readChat(chunks) {
  const answer = { text: "", tools: [] };
  const calls = [];
  for await (const { choices, usage } of chunks) {
    if (usage) Object.assign(answer, { inputTokens: usage.prompt_tokens, outputTokens: usage.completion_tokens });
    for (const { delta } of choices) {
      answer.text += delta.content ?? "";
      for (const { index, function: called } of delta.tool_calls ?? []) {
        const call = (calls[index] ??= { name: "", json: "" });
        call.name += called.name ?? "";
        call.json += called.arguments ?? "";
      }
    }
  }
  answer.tools = calls.map(({ name, json }) => ({ name, input: JSON.parse(json) }));
  return answer;
}

export function chatCompletion({ choices: [{ message }], usage }) {
  return {
    text: message.content ?? "",
    tools: (message.tool_calls ?? []).map((call) => ({ name: call.function.name, input: JSON.parse(call.function.arguments) })),
    inputTokens: usage.prompt_tokens,
    outputTokens: usage.completion_tokens,
  };
}

/** What the deltas tell, and what the response at the end tells; both must be the same. */
export async function readResponses(events) {
  let streamed = "";
  let last;
  const numbers = [];
  for await (const event of events) {
    last = event;
    numbers.push(event.sequence_number);
    if (event.type === "response.output_text.delta") streamed += event.delta;
  }
  if (last?.type === "response.failed") throw new ResponseFailed(last.response.error?.message);
  if (last?.type !== "response.completed") throw new IncompleteError(`the last event is ${JSON.stringify(last)}`);
  if (numbers.some((number, index) => number !== numbers[0] + index)) {
    throw new IncompleteError(`the sequence numbers are ${numbers}`);
  }
  const answer = responsesResponse(last.response);
  if (streamed !== answer.text) throw new IncompleteError(`the deltas say ${streamed}, their end says ${answer.text}`);
  return answer;
}

export function responsesResponse({ output, usage }) {
  const texts = output.filter(({ type }) => type === "message").flatMap(({ content }) => content.map(({ text }) => text));
  const calls = output.filter(({ type }) => type === "function_call");
  return {
    text: texts.join(""),
    tools: calls.map((call) => ({ name: call.name, input: JSON.parse(call.arguments) })),
    inputTokens: usage.input_tokens,
    outputTokens: usage.output_tokens,
  };
}

export async function readAnthropic(events) {
  const answer = { text: "", tools: [] };
  const calls = [];
  let stopped = false;
  for await (const event of events) {
    if (event.type === "message_start") answer.inputTokens = event.message.usage.input_tokens;
    if (event.type === "content_block_start" && event.content_block.type === "tool_use") {
      calls[event.index] = { name: event.content_block.name, json: "" };
    }
    if (event.delta?.type === "text_delta") answer.text += event.delta.text;
    if (event.delta?.type === "input_json_delta") calls[event.index].json += event.delta.partial_json;
    if (event.type === "message_delta") answer.outputTokens = event.usage.output_tokens;
    if (event.type === "message_stop") stopped = true;
  }
  if (!stopped) throw new IncompleteError("there was no message_stop");
  answer.tools = calls.filter(Boolean).map(({ name, json }) => ({ name, input: JSON.parse(json) }));
  return answer;
}

export function anthropicMessage({ content, usage }) {
  const blocks = (wanted) => content.filter(({ type }) => type === wanted);
  return {
    text: blocks("text").map(({ text }) => text).join(""),
    tools: blocks("tool_use").map(({ name, input }) => ({ name, input })),
    inputTokens: usage.input_tokens,
    outputTokens: usage.output_tokens,
  };
}

async function readOllama(parts) {
  const answer = { text: "", tools: [] };
  let done = false;
  for await (const part of parts) {
    answer.text += part.message.content;
    for (const call of part.message.tool_calls ?? []) answer.tools.push({ name: call.function.name, input: call.function.arguments });
    if (!part.done) continue;
    done = true;
    Object.assign(answer, { inputTokens: part.prompt_eval_count, outputTokens: part.eval_count });
  }
  if (!done) throw new IncompleteError("no line says that it is done");
  return answer;
}

/** What `streamText` makes of a model's answer. An error part is thrown: to a program that reads no parts it is one. */
export async function readStreamText(model, prompt, { maxRetries } = {}) {
  const failures = [];
  const result = streamText({
    model,
    prompt,
    maxRetries,
    maxOutputTokens: TOKENS_MAX,
    tools: { weather: tool({ description: "Tells it", inputSchema: jsonSchema(PARAMETERS) }) },
    // The default prints them.
    onError: ({ error }) => failures.push(error),
  });
  const answer = { text: "", tools: [] };
  let finish;
  for await (const part of result.fullStream) {
    if (part.type === "text-delta") answer.text += part.text;
    if (part.type === "tool-call") answer.tools.push({ name: part.toolName, input: part.input });
    if (part.type === "error") failures.push(part.error);
    if (part.type === "finish") finish = part;
  }
  if (failures.length > 0) throw failures[0];
  if (!["stop", "tool-calls", "length"].includes(finish?.finishReason)) {
    throw new IncompleteError(`it finished by ${finish?.finishReason}`);
  }
  answer.inputTokens = finish.totalUsage.inputTokens;
  answer.outputTokens = finish.totalUsage.outputTokens;
  return answer;
}

const PARAMETERS = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" }, metric: { type: "boolean" } },
  required: ["city", "days", "metric"],
};
const MODEL = "simulated-1";
const TOKENS_MAX = 1000;

// The ways themselves. `ask(base, prompt, options)` gives the answer, or throws what the SDK throws; `options` are the
// SDK's, `fetch` and `maxRetries` among them.

async function chatCreate(base, prompt, options) {
  return readChat(await openaiClient(base, options).chat.completions.create({ stream: true, ...chatRequest(prompt) }));
}

async function chatStream(base, prompt, options) {
  const stream = openaiClient(base, options).chat.completions.stream(chatRequest(prompt));
  return chatCompletion(await stream.finalChatCompletion());
}

async function responsesCreate(base, prompt, options) {
  return readResponses(await openaiClient(base, options).responses.create({ stream: true, ...responsesRequest(prompt) }));
}

async function responsesStream(base, prompt, options) {
  const stream = openaiClient(base, options).responses.stream(responsesRequest(prompt));
  const answer = await readResponses(stream);
  await stream.finalResponse();
  return answer;
}

async function messagesCreate(base, prompt, options) {
  return readAnthropic(await anthropicClient(base, options).messages.create({ stream: true, ...anthropicRequest(prompt) }));
}

async function messagesStream(base, prompt, options) {
  return anthropicMessage(await anthropicClient(base, options).messages.stream(anthropicRequest(prompt)).finalMessage());
}

/** It does not retry, so `fetch` is all that it takes. */
const ollama = (base, { fetch } = {}) => new Ollama({ host: base, fetch });

const aiOpenai = (base, { fetch } = {}) => createOpenAI({ baseURL: `${base}/v1`, apiKey: "test", fetch });
const aiAnthropic = (base, { fetch } = {}) => createAnthropic({ baseURL: `${base}/v1`, apiKey: "test", fetch });

export const WAYS = [
  { name: "openai chat.completions.create", family: "openai", ask: chatCreate },
  { name: "openai chat.completions.stream", family: "openai", ask: chatStream },
  { name: "openai responses.create", family: "openai", ask: responsesCreate },
  { name: "openai responses.stream", family: "openai", ask: responsesStream },
  { name: "anthropic messages.create", family: "anthropic", ask: messagesCreate },
  { name: "anthropic messages.stream", family: "anthropic", ask: messagesStream },
  {
    name: "ollama chat",
    family: "ollama",
    ask: async (base, prompt, options) => readOllama(await ollama(base, options).chat({ stream: true, ...withoutStream(chatRequest(prompt)) })),
  },
  {
    name: "ai streamText openai.chat",
    family: "ai",
    ask: (base, prompt, options) => readStreamText(aiOpenai(base, options).chat(MODEL), prompt, options),
  },
  {
    name: "ai streamText openai.responses",
    family: "ai",
    ask: (base, prompt, options) => readStreamText(aiOpenai(base, options).responses(MODEL), prompt, options),
  },
  {
    name: "ai streamText anthropic",
    family: "ai",
    ask: (base, prompt, options) => readStreamText(aiAnthropic(base, options)(MODEL), prompt, options),
  },
];

// Without streams.

async function chatWhole(base, prompt) {
  return chatCompletion(await openaiClient(base).chat.completions.create(withoutStream(chatRequest(prompt))));
}

async function responsesWhole(base, prompt) {
  return responsesResponse(await openaiClient(base).responses.create(responsesRequest(prompt)));
}

async function messagesWhole(base, prompt) {
  return anthropicMessage(await anthropicClient(base).messages.create(anthropicRequest(prompt)));
}

async function ollamaWhole(base, prompt) {
  return readOllama([await ollama(base).chat(withoutStream(chatRequest(prompt)))]);
}

export const WHOLE = [
  { name: "openai chat.completions.create", ask: chatWhole },
  { name: "openai responses.create", ask: responsesWhole },
  { name: "anthropic messages.create", ask: messagesWhole },
  { name: "ollama chat", ask: ollamaWhole },
];
