// OpenAI Chat Completions: `POST /v1/chat/completions`, and `GET /v1/models`.
//
// A stream is unnamed events, `data: {"object":"chat.completion.chunk",…}`: the role, then content or pieces of a tool call's
// arguments, then an empty delta with the `finish_reason`, the usage where it was asked for, and `data: [DONE]`. An error in
// mid-stream is `data: {"error":…}`, and no `[DONE]` follows.

export const openaiChat = {
  name: 'openai-chat',
  framing: 'sse',
  idPrefix: 'chatcmpl-',
  routes: [
    { method: 'POST', path: /^\/v1\/chat\/completions$/, answer: (call) => call.generate() },
    { method: 'GET', path: /^\/v1\/models$/, answer: listModels },
  ],
  headers: openaiHeaders,
  refusal,
  read,
  plan,
  whole,
  failure: () => [{ data: { error: { ...SERVER_ERROR, param: null, code: null } } }],
  problem: openaiProblem,
}

/** The body of OpenAI's HTTP errors, which Responses shares. */
export function openaiProblem(status, message, code = null) {
  const [type, usual, usualCode] = PROBLEMS[status] ?? (status < 500 ? PROBLEMS[400] : PROBLEMS[500])
  return { error: { message: message ?? usual, type, param: null, code: code ?? usualCode } }
}

export function openaiHeaders() {
  return { 'openai-version': '2020-10-01', 'openai-processing-ms': '12' }
}

/** The refusal of a request that lacks a key, where this simulator has been told to want one. */
export function missingKey({ request, simulator }) {
  if (!simulator.requireKey || /^Bearer \S+/.test(request.headers.authorization ?? '')) return undefined
  return { status: 401, message: 'You did not provide an API key: give one as `Authorization: Bearer YOUR_KEY`.' }
}

/** The refusal of a request that lacks a parameter. */
export function missingParameter(name) {
  return { status: 400, message: `Missing required parameter: '${name}'.`, code: 'missing_required_parameter' }
}

/** What a message says: a string, or parts of which some are text. */
export function textOf(content) {
  if (typeof content === 'string') return content
  return (Array.isArray(content) ? content : []).map(({ text }) => text ?? '').join('')
}

function refusal(call) {
  if (call.request.method === 'GET') return missingKey(call)
  const { messages, model, n } = call.body
  if (typeof model !== 'string') return missingParameter('model')
  if (!Array.isArray(messages) || messages.length === 0) return missingParameter('messages')
  if ((n ?? 1) !== 1) return { status: 400, message: 'This simulator gives one choice: n must be 1.' }
  return missingKey(call)
}

function read(body) {
  const messages = Array.isArray(body.messages) ? body.messages : []
  const choice = body.tool_choice
  const tools = (body.tools ?? []).filter(({ type }) => type === 'function')
  return {
    prompt: textOf(messages.findLast(({ role }) => role === 'user')?.content),
    model: body.model,
    streamed: body.stream === true,
    tools: choice === 'none' ? [] : tools.map(({ function: tool }) => ({ name: tool?.name, schema: tool?.parameters })),
    forcedTool: choice === 'required' ? true : choice?.function?.name,
    afterTool: messages.at(-1)?.role === 'tool',
    tokensMax: body.max_completion_tokens ?? body.max_tokens ?? undefined,
  }
}

function plan(turn, body) {
  const withUsage = body.stream_options?.include_usage === true
  const chunk = (choices, usage = null) => ({
    id: turn.id,
    object: 'chat.completion.chunk',
    created: Math.floor(turn.created_ms / 1000),
    model: turn.model,
    service_tier: 'default',
    system_fingerprint: FINGERPRINT,
    choices,
    // The field exists on every chunk as soon as usage was asked for.
    ...(withUsage && { usage }),
  })
  const delta = (delta, finish_reason = null) => chunk([{ index: 0, delta, logprobs: null, finish_reason }])
  const parts = turn.tool ? toolDeltas(turn.tool) : contentDeltas(turn)
  return [
    ...parts.map((part) => ({ data: delta(part.delta), text: part.text })),
    { data: delta({}, FINISH[turn.finish]) },
    ...(withUsage ? [{ data: chunk([], usage(turn)) }] : []),
    { data: '[DONE]' },
  ]
}

function contentDeltas({ tokens }) {
  const role = { delta: { role: 'assistant', content: '', refusal: null } }
  return [role, ...tokens.map((text) => ({ delta: { content: text }, text }))]
}

function toolDeltas({ id, name, pieces }) {
  const call = { index: 0, id, type: 'function', function: { name, arguments: '' } }
  return [
    { delta: { role: 'assistant', content: null, tool_calls: [call], refusal: null } },
    ...pieces.map((piece) => ({ delta: { tool_calls: [{ index: 0, function: { arguments: piece } }] } })),
  ]
}

function whole(turn) {
  const { tool } = turn
  const call = tool && { id: tool.id, type: 'function', function: { name: tool.name, arguments: tool.pieces.join('') } }
  return {
    id: turn.id,
    object: 'chat.completion',
    created: Math.floor(turn.created_ms / 1000),
    model: turn.model,
    choices: [{
      index: 0,
      message: {
        role: 'assistant',
        content: tool ? null : turn.text,
        ...(call && { tool_calls: [call] }),
        refusal: null,
        annotations: [],
      },
      logprobs: null,
      finish_reason: FINISH[turn.finish],
    }],
    usage: usage(turn),
    service_tier: 'default',
    system_fingerprint: FINGERPRINT,
  }
}

function usage({ inputTokens, outputTokens }) {
  return {
    prompt_tokens: inputTokens,
    completion_tokens: outputTokens,
    total_tokens: inputTokens + outputTokens,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: 0,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  }
}

async function listModels(call) {
  const opened = await call.open({ kind: 'listing', prompt: '' })
  const data = MODELS.map((id) => ({ id, object: 'model', created: 1_700_000_000, owned_by: 'simulator' }))
  if (opened) await call.sendJson(200, { object: 'list', data }, opened)
}

const FINISH = { stop: 'stop', length: 'length', tool: 'tool_calls' }
const FINGERPRINT = 'fp_simulated'
const MODELS = ['simulated', 'simulated-small']
/** What OpenAI says when it fails, before an answer and in the middle of one. */
export const SERVER_ERROR = {
  type: 'server_error',
  message: 'The server had an error while processing your request. Sorry about that!',
}
const PROBLEMS = {
  400: ['invalid_request_error', 'We could not understand your request.', null],
  401: ['invalid_request_error', 'Incorrect API key provided.', 'invalid_api_key'],
  404: ['invalid_request_error', 'The model does not exist or you do not have access to it.', 'model_not_found'],
  429: ['requests', 'Rate limit reached for requests.', 'rate_limit_exceeded'],
  500: [SERVER_ERROR.type, SERVER_ERROR.message, null],
  503: ['service_unavailable_error', 'The engine is currently overloaded, please try again later.', null],
}
