// The AI SDK's UI message stream, version 1, which `useChat` reads: `POST /ui/chat`.
//
// A stream is unnamed events, told from others by the header `x-vercel-ai-ui-message-stream: v1`: `start`, then for each step
// `start-step`, its parts (`text-start`, `text-delta`, `text-end`; or a tool's input and output) and `finish-step`, then
// `finish` and `[DONE]`. An error in mid-stream is `{"type":"error","errorText":…}`. This server runs its tools itself, as
// a `streamText` with `execute` does: the step after a tool's answers.

import { newId } from '../turn.mjs'

export const vercelUi = {
  name: 'vercel-ui',
  framing: 'sse',
  idPrefix: 'msg-',
  routes: [{ method: 'POST', path: /^\/ui\/chat$/, answer: (call) => call.generate() }],
  headers: () => ({ 'x-vercel-ai-ui-message-stream': 'v1', 'x-accel-buffering': 'no' }),
  refusal,
  read,
  plan,
  whole: (turn) => ({ id: turn.id, role: 'assistant', parts: [{ type: 'text', text: turn.text }] }),
  failure: () => [{ data: { type: 'error', errorText: 'An error occurred.' } }, { data: '[DONE]' }],
  problem: (status, message) => ({ error: message ?? `The request failed with status ${status}.` }),
}

function refusal({ body }) {
  if (Array.isArray(body.messages) && body.messages.length > 0) return undefined
  return { status: 400, message: 'messages: at least one message is needed' }
}

function read(body) {
  const messages = Array.isArray(body.messages) ? body.messages : []
  const parts = messages.findLast(({ role }) => role === 'user')?.parts ?? []
  return {
    prompt: parts.filter(({ type }) => type === 'text').map(({ text }) => text).join(''),
    model: 'simulated',
    streamed: true,
    tools: [WEATHER],
  }
}

function plan(turn) {
  const chunks = [
    { type: 'start', messageId: turn.id },
    ...(turn.tool ? toolStep(turn.tool) : []),
    ...textStep(turn),
    { type: 'finish', finishReason: turn.finish === 'length' ? 'length' : 'stop' },
  ]
  return [...chunks.map((data) => ({ data, text: data.type === 'text-delta' ? data.delta : undefined })), { data: '[DONE]' }]
}

function textStep({ tokens }) {
  const id = newId('txt-')
  return [
    { type: 'start-step' },
    { type: 'text-start', id },
    ...tokens.map((delta) => ({ type: 'text-delta', id, delta })),
    { type: 'text-end', id },
    { type: 'finish-step' },
  ]
}

function toolStep({ id: toolCallId, name: toolName, input, pieces }) {
  return [
    { type: 'start-step' },
    { type: 'tool-input-start', toolCallId, toolName },
    ...pieces.map((inputTextDelta) => ({ type: 'tool-input-delta', toolCallId, inputTextDelta })),
    { type: 'tool-input-available', toolCallId, toolName, input },
    { type: 'tool-output-available', toolCallId, output: { place: input.place, celsius: 11 } },
    { type: 'finish-step' },
  ]
}

const WEATHER = { name: 'weather', schema: { type: 'object', properties: { place: { type: 'string' } } } }
