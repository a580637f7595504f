// Coming back without `longwave/fetch`: OpenAI's background mode with the SDK's own calls, chats that are opened again, and
// keys against double calls.

import assert from "node:assert/strict";

import OpenAI from "openai";

import { CUTS_WITHOUT_END } from "./faults.mjs";
import { expectError, expectWhatUpstreamSent, fetchJson, waitUntil } from "./harness.mjs";
import { anthropicClient, anthropicRequest, chatRequest, openaiClient, readAnthropic, readChat, readResponses, responsesRequest, responsesResponse } from "./sdks.mjs";
import { answerOf, openChat } from "./use_chat.mjs";

export function cases() {
  return [
    { name: "openai responses.retrieve goes on behind the event that was last", run: retrieveGoesOn },
    { name: "openai responses.retrieve goes on through cuts at every event border", run: (stage) => comesBack(stage, "border") },
    { name: "openai responses.retrieve goes on through cuts at random bytes", run: (stage) => comesBack(stage, "byte") },
    { name: "openai responses.stream takes up a response by its id", run: streamTakesUp },
    { name: "openai responses.retrieve replays a finished response from its first event", run: replays },
    { name: "openai responses.retrieve tells how a response stands", run: tells },
    { name: "openai responses.cancel stops upstream", run: cancels },
    { name: "openai responses.create in the background without a stream can be polled and followed", run: polled },
    ...Object.entries(ASK_WITH_KEY).map(([name, ask]) => ({
      name: `${name} with the same key is generated once`,
      run: (stage) => keyed(stage, ask),
    })),
    { name: "openai chat with the same key and another body is refused", run: keyReused },
    { name: "ai useChat resumes a chat that is opened again", run: chatResumes },
    { name: "ai useChat finds nothing to resume in a chat where nothing runs", run: nothingToResume },
    { name: "ai useChat stops by the stop endpoint", run: chatStops },
  ];
}

function begin(client, prompt) {
  return client.responses.create({ background: true, stream: true, ...responsesRequest(prompt) });
}

/** The first `count` events of a stream, which is left then. */
async function take(stream, count) {
  const events = [];
  for await (const event of stream) {
    events.push(event);
    if (events.length === count) break;
  }
  return events;
}

async function expectStreamed(stage, events) {
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, index) => index));
  assert.equal((await readResponses(events)).text, (await stage.onlyCall()).text);
}

async function retrieveGoesOn(stage) {
  const client = openaiClient(stage.gateway);
  const seen = await take(await begin(client, stage.prompt("words=40 delay=2ms")), 10);
  const starting_after = seen.at(-1).sequence_number;
  const rest = await client.responses.retrieve(seen[0].response.id, { stream: true, starting_after });
  await expectStreamed(stage, [...seen, ...(await take(rest))]);
}

/** What a program does that knows of background mode: it asks for the rest until it has the end. */
async function comesBack(stage, at) {
  const events = await take(await begin(openaiClient(stage.gateway), stage.prompt("words=24")), 1);
  const client = openaiClient(await stage.cuttingLink(at, CUTS_WITHOUT_END), { maxRetries: RETRIES });
  while (events.at(-1).type !== "response.completed") {
    const starting_after = events.at(-1).sequence_number;
    const rest = await client.responses.retrieve(events[0].response.id, { stream: true, starting_after });
    try {
      for await (const event of rest) events.push(event);
    } catch (error) {
      // How `fetch` says that a connection broke, which is what is tested. It came as far as it came.
      if (!(error instanceof TypeError)) throw error;
      continue;
    }
    assert.ok(events.at(-1).sequence_number > starting_after, "an answer that ends in order has something to add");
  }
  await expectStreamed(stage, events);
  assert.ok((await stage.faultsSoFar()) > 0, "connections are cut");
}

async function streamTakesUp(stage) {
  const client = openaiClient(stage.gateway);
  const [first] = await take(await begin(client, stage.prompt("words=24 delay=2ms")), 1);
  const response = await client.responses.stream({ response_id: first.response.id }).finalResponse();
  assert.equal(responsesResponse(response).text, (await stage.onlyCall()).text);
}

async function replays(stage) {
  const client = openaiClient(stage.gateway);
  const first = await take(await begin(client, stage.prompt()));
  for (let time = 0; time < 2; time += 1) {
    assert.deepEqual(await take(await client.responses.retrieve(first[0].response.id, { stream: true })), first);
  }
  await expectStreamed(stage, first);
}

async function tells(stage) {
  const client = openaiClient(stage.gateway);
  const stream = await begin(client, stage.prompt("words=24 delay=10ms"));
  const events = stream[Symbol.asyncIterator]();
  const { id } = (await events.next()).value.response;
  assert.ok(["queued", "in_progress"].includes((await client.responses.retrieve(id)).status), "it is in progress");
  await take({ [Symbol.asyncIterator]: () => events });
  const response = await client.responses.retrieve(id);
  assert.equal(response.status, "completed");
  assert.equal(responsesResponse(response).text, (await stage.onlyCall()).text);
}

async function cancels(stage) {
  const client = openaiClient(stage.gateway);
  const stream = await begin(client, stage.prompt("words=400 delay=20ms"));
  const events = stream[Symbol.asyncIterator]();
  const { id } = (await events.next()).value.response;
  for (let time = 0; time < 2; time += 1) assert.equal((await client.responses.cancel(id)).status, "cancelled");
  await waitUntil("upstream was left", async () => (await stage.onlyCall()).client_left);
  assert.equal((await client.responses.retrieve(id)).status, "cancelled");
  await expectError(() => readResponses({ [Symbol.asyncIterator]: () => events }));
}

async function polled(stage) {
  const client = openaiClient(stage.gateway);
  const request = responsesRequest(stage.prompt("words=24 delay=5ms"));
  const { id, status } = await client.responses.create({ background: true, ...request });
  assert.ok(["queued", "in_progress"].includes(status), `the status is ${status}`);
  await expectStreamed(stage, await take(await client.responses.retrieve(id, { stream: true })));
  await waitUntil("it is completed", async () => (await client.responses.retrieve(id)).status === "completed");
  assert.equal(responsesResponse(await client.responses.retrieve(id)).text, (await stage.onlyCall()).text);
}

const ASK_WITH_KEY = {
  "openai chat": async (base, prompt, options) =>
    told(openaiClient(base).chat.completions.create({ stream: true, ...chatRequest(prompt) }, options), readChat),
  "openai responses": async (base, prompt, options) =>
    told(openaiClient(base).responses.create({ stream: true, ...responsesRequest(prompt) }, options), readResponses),
  "anthropic messages": async (base, prompt, options) =>
    told(anthropicClient(base).messages.create({ stream: true, ...anthropicRequest(prompt) }, options), readAnthropic),
};

async function told(asked, read) {
  const { data, response } = await asked.withResponse();
  return { answer: await read(data), headers: response.headers };
}

/** Two at once, of which one joins the other, and a third that finds it finished. */
async function keyed(stage, ask) {
  const prompt = stage.prompt("words=24 delay=10ms");
  const once = () => ask(stage.gateway, prompt, { headers: { "Idempotency-Key": stage.marker } });
  const all = [...(await Promise.all([once(), once()])), await once()];
  for (const { answer } of all) await expectWhatUpstreamSent(stage, answer);
  assert.equal(all.filter(({ headers }) => headers.get("longwave-duplicate") === "true").length, 2, "two are duplicates");
  assert.equal(new Set(all.map(({ headers }) => headers.get("longwave-stream"))).size, 1, "there is one stream");
}

async function keyReused(stage) {
  const ask = (words) =>
    ASK_WITH_KEY["openai chat"](stage.gateway, stage.prompt(`words=${words}`), { headers: { "Idempotency-Key": stage.marker } });
  await ask(8);
  const error = await expectError(() => ask(9));
  if (!(error instanceof OpenAI.UnprocessableEntityError)) throw error;
  await stage.onlyCall();
}

/** A page is left in the middle of an answer; another one opens the same chat. */
async function chatResumes(stage) {
  const id = chatId();
  const page = openChat(stage.gateway, { id });
  const sending = page.sendMessage({ text: stage.prompt("words=60 delay=20ms") });
  await waitUntil("an answer has begun", () => page.messages.length === 2 && answerOf(page).text !== "");
  await page.stop();
  await sending;
  const other = openChat(stage.gateway, { id, messages: page.messages.slice(0, 1) });
  await other.resumeStream();
  if (other.error) throw other.error;
  await expectWhatUpstreamSent(stage, answerOf(other));
}

async function nothingToResume(stage) {
  const id = chatId();
  const chat = openChat(stage.gateway, { id });
  await chat.sendMessage({ text: stage.prompt("words=8") });
  const { messages } = chat;
  for (const given of [id, chatId()]) {
    const other = openChat(stage.gateway, { id: given, messages });
    await other.resumeStream();
    assert.equal(other.error, undefined);
    assert.equal(other.status, "ready");
    assert.deepEqual(other.messages, messages);
  }
}

async function chatStops(stage) {
  const id = chatId();
  const chat = openChat(stage.gateway, { id });
  const sending = chat.sendMessage({ text: stage.prompt("words=400 delay=20ms") });
  await waitUntil("an answer has begun", () => chat.messages.length === 2 && answerOf(chat).text !== "");
  await fetchJson(`${stage.gateway}/ui/chat/${id}/stop`, { method: "POST" });
  await sending;
  await waitUntil("upstream was left", async () => (await stage.onlyCall()).client_left);
  assert.ok(["ready", "error"].includes(chat.status), `the chat is ${chat.status}`);
}

function chatId() {
  return crypto.randomUUID();
}

// More than a link cuts in a row before an event comes through.
const RETRIES = 4;
