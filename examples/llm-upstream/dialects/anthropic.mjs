// Anthropic Messages: `POST /v1/messages`, and `POST /v1/messages/count_tokens`.
//
// A stream is named events whose data repeats the name as `type`: `message_start`, then for each content block its start,
// deltas (`text_delta`, or `input_json_delta` for a tool's input) and stop, then `message_delta` with the `stop_reason` and the
// usage, then `message_stop`. A `ping` may come at any time. An error in mid-stream is `event: error`, and nothing follows.

export const anthropic = {
  name: 'anthropic',
  framing: 'sse',
  idPrefix: 'msg_',
  routes: [
    { method: 'POST', path: /^\/v1\/messages$/, answer: (call) => call.generate() },
    { method: 'POST', path: /^\/v1\/messages\/count_tokens$/, answer: countTokens },
  ],
  headers: (id) => ({ 'request-id': id }),
  refusal,
  read,
  plan,
  whole,
  failure: () => [named({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } })],
  problem,
}

function refusal({ request, body, url }) {
  const { headers } = request
  if (!headers['x-api-key'] && !headers.authorization) return { status: 401, message: 'x-api-key header is required' }
  if (!headers['anthropic-version']) return { status: 400, message: 'anthropic-version: header is required' }
  if (typeof body.model !== 'string') return { status: 400, message: 'model: Field required' }
  if (!Array.isArray(body.messages)) return { status: 400, message: 'messages: Field required' }
  if (body.messages.length === 0) return { status: 400, message: 'messages: at least one message is required' }
  const counts = url.pathname.endsWith('/count_tokens')
  if (!counts && !Number.isInteger(body.max_tokens)) return { status: 400, message: 'max_tokens: Field required' }
  return undefined
}

function read(body) {
  const messages = Array.isArray(body.messages) ? body.messages : []
  // A tool's result travels in a message of the user's; the prompt is the last that says something itself.
  const spoken = messages.filter(({ role, content }) => role === 'user' && textOf(content) !== '')
  const choice = body.tool_choice
  const tools = (body.tools ?? []).map(({ name, input_schema }) => ({ name, schema: input_schema }))
  return {
    prompt: textOf(spoken.at(-1)?.content),
    model: body.model,
    streamed: body.stream === true,
    tools: choice?.type === 'none' ? [] : tools,
    forcedTool: choice?.type === 'any' ? true : choice?.name,
    afterTool: holdsToolResult(messages.at(-1)),
    tokensMax: body.max_tokens,
  }
}

function plan(turn) {
  const { inputTokens, outputTokens } = turn
  const blocks = turn.tool ? toolBlock(turn.tool) : textBlock(turn.tokens)
  return [
    named({ type: 'message_start', message: { ...message(turn), usage: usage(inputTokens, 1) } }),
    ...blocks,
    named({
      type: 'message_delta',
      delta: { stop_reason: STOP_REASON[turn.finish], stop_sequence: null },
      usage: { output_tokens: outputTokens },
    }),
    named({ type: 'message_stop' }),
  ]
}

function textBlock(tokens) {
  const deltas = tokens.flatMap((text, index) => [
    // Pings come by the clock at the provider; here by count, so that a plan is a function of its request.
    ...(index > 0 && index % PING_EVERY_TOKENS === 0 ? [named({ type: 'ping' })] : []),
    { ...named({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } }), text },
  ])
  return [
    named({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }),
    named({ type: 'ping' }),
    ...deltas,
    named({ type: 'content_block_stop', index: 0 }),
  ]
}

function toolBlock(tool) {
  const block = { ...toolUse(tool), input: {} }
  return [
    named({ type: 'content_block_start', index: 0, content_block: block }),
    named({ type: 'ping' }),
    ...['', ...tool.pieces].map((partial_json) =>
      named({ type: 'content_block_delta', index: 0, delta: { type: 'input_json_delta', partial_json } })),
    named({ type: 'content_block_stop', index: 0 }),
  ]
}

function whole(turn) {
  const content = turn.tool ? [toolUse(turn.tool)] : [{ type: 'text', text: turn.text }]
  return { ...message(turn), content, stop_reason: STOP_REASON[turn.finish], usage: usage(turn.inputTokens, turn.outputTokens) }
}

function message({ id, model }) {
  return { id, type: 'message', role: 'assistant', model, content: [], stop_reason: null, stop_sequence: null }
}

function toolUse({ id, name, input }) {
  return { type: 'tool_use', id: id.replace('call_', 'toolu_'), name, input }
}

function usage(input_tokens, output_tokens) {
  return { input_tokens, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens, service_tier: 'standard' }
}

function named(data) {
  return { event: data.type, data }
}

function problem(status, message, code, id = null) {
  const [type, usual] = PROBLEMS[status] ?? (status < 500 ? PROBLEMS[400] : PROBLEMS[500])
  return { type: 'error', error: { type, message: message ?? usual }, request_id: id }
}

async function countTokens(call) {
  const { prompt } = read(call.body)
  const opened = await call.open({ kind: 'listing', prompt })
  if (opened) await call.sendJson(200, { input_tokens: prompt.split(/\s+/).length }, opened)
}

function textOf(content) {
  if (typeof content === 'string') return content
  return (Array.isArray(content) ? content : []).filter(({ type }) => type === 'text').map(({ text }) => text).join('')
}

function holdsToolResult(message) {
  return Array.isArray(message?.content) && message.content.some(({ type }) => type === 'tool_result')
}

const PING_EVERY_TOKENS = 25
const STOP_REASON = { stop: 'end_turn', length: 'max_tokens', tool: 'tool_use' }
const PROBLEMS = {
  400: ['invalid_request_error', 'Invalid request'],
  401: ['authentication_error', 'invalid x-api-key'],
  403: ['permission_error', 'Your API key does not have permission to use the specified resource.'],
  404: ['not_found_error', 'Not found'],
  429: ['rate_limit_error', 'This request would exceed your rate limit.'],
  500: ['api_error', 'Internal server error'],
  529: ['overloaded_error', 'Overloaded'],
}
