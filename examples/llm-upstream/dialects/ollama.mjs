// Ollama: `POST /api/generate` and `POST /api/chat`, which stream unless told `"stream": false`.
//
// A stream is NDJSON: a line for each token with `"done":false`, then one with `"done":true`, the `done_reason`, the counts and
// the times in nanoseconds. An error in mid-stream is the line `{"error":"…"}`, and no line with `done` follows.

export const ollamaGenerate = {
  ...shared('ollama-generate'),
  routes: [{ method: 'POST', path: /^\/api\/generate$/, answer: (call) => call.generate() }],
  read: (body) => ({ ...readCommon(body), prompt: typeof body.prompt === 'string' ? body.prompt : '', tools: [] }),
  plan: (turn) => [
    ...turn.tokens.map((text) => ({ data: { ...head(turn), response: text, done: false }, text })),
    { data: { ...head(turn), response: '', ...tail(turn), context: CONTEXT } },
  ],
  whole: (turn) => ({ ...head(turn), response: turn.text, ...tail(turn), context: CONTEXT }),
}

export const ollamaChat = {
  ...shared('ollama-chat'),
  routes: [{ method: 'POST', path: /^\/api\/chat$/, answer: (call) => call.generate() }],
  read: readChat,
  plan: (turn) => [
    ...(turn.tool ? [{ message: toolMessage(turn.tool) }] : turn.tokens.map((text) => ({ message: say(text), text })))
      .map(({ message, text }) => ({ data: { ...head(turn), message, done: false }, text })),
    { data: { ...head(turn), message: say(''), ...tail(turn) } },
  ],
  whole: (turn) => ({ ...head(turn), message: turn.tool ? toolMessage(turn.tool) : say(turn.text), ...tail(turn) }),
}

function shared(name) {
  return {
    name,
    framing: 'ndjson',
    idPrefix: 'ollama-',
    refusal: ({ body }) => (typeof body.model === 'string' ? undefined : { status: 400, message: 'model is required' }),
    failure: () => [{ data: { error: 'an error was encountered while running the model: unexpected EOF' } }],
    problem: (status, message) => ({ error: message ?? PROBLEMS[status] ?? PROBLEMS[500] }),
  }
}

function readCommon(body) {
  return { model: body.model, streamed: body.stream !== false, tokensMax: body.options?.num_predict }
}

function readChat(body) {
  const messages = Array.isArray(body.messages) ? body.messages : []
  return {
    ...readCommon(body),
    prompt: messages.findLast(({ role }) => role === 'user')?.content ?? '',
    tools: (body.tools ?? []).map(({ function: tool }) => ({ name: tool?.name, schema: tool?.parameters })),
    afterTool: messages.at(-1)?.role === 'tool',
  }
}

function head({ model }) {
  return { model, created_at: new Date().toISOString() }
}

function tail({ finish, created_ms, inputTokens, outputTokens }) {
  const token_ns = 20_000_000
  const eval_duration = outputTokens * token_ns
  return {
    done: true,
    done_reason: finish === 'length' ? 'length' : 'stop',
    total_duration: Math.max(Date.now() - created_ms, 1) * 1_000_000 + eval_duration,
    load_duration: 1_000_000,
    prompt_eval_count: inputTokens,
    prompt_eval_duration: inputTokens * token_ns,
    eval_count: outputTokens,
    eval_duration,
  }
}

function say(content) {
  return { role: 'assistant', content }
}

function toolMessage({ name, input }) {
  return { ...say(''), tool_calls: [{ function: { name, arguments: input } }] }
}

// The tokens of the conversation, for a next call to continue it. This simulator has no tokens.
const CONTEXT = [1, 2, 3]
const PROBLEMS = {
  404: 'model not found, try pulling it first',
  429: 'too many requests',
  500: 'llama runner process has terminated',
  503: 'server busy, please try again. maximum pending requests exceeded',
}
