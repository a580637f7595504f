// OpenAI Responses: `POST /v1/responses`, and the calls that come back to a response.
//
// A stream is named events whose data repeats the name as `type` and counts them in `sequence_number`, from
// `response.created` to `response.completed` (or `.incomplete`, `.failed`); nothing follows that. With `background: true` the
// generation is apart from the connection that began it: it goes on when that breaks, `GET /v1/responses/{id}?stream=true&
// starting_after=N` follows it from behind any event, and `POST /v1/responses/{id}/cancel` ends it.

import { paced } from '../delivery.mjs'
import { missingKey, missingParameter, openaiHeaders, openaiProblem, SERVER_ERROR, textOf } from './openai-chat.mjs'

export const openaiResponses = {
  name: 'openai-responses',
  framing: 'sse',
  idPrefix: 'resp_',
  routes: [
    { method: 'POST', path: /^\/v1\/responses$/, answer: create },
    { method: 'GET', path: /^\/v1\/responses\/([^/]+)$/, answer: retrieve },
    { method: 'POST', path: /^\/v1\/responses\/([^/]+)\/cancel$/, answer: cancel },
  ],
  headers: openaiHeaders,
  refusal,
  read,
  plan,
  whole: (turn, body) => responseObject(turn, body, endStatus(turn)),
  failure,
  problem: openaiProblem,
}

/** A response that can be asked for again: what has been generated of it, and who waits for more. */
class Stored {
  /** @type {Array} The events so far; one's place is its `sequence_number`. */
  events = []
  ended = false
  #change = nextChange()
  #stop = new AbortController()

  constructor(turn, body, status) {
    Object.assign(this, { turn, body, status })
  }

  /** Takes what has been generated all at once. */
  finish(events) {
    this.events = events
    this.ended = true
    this.status = this.#lastResponse()?.status ?? endStatus(this.turn)
  }

  /** Generates the events of `plan` in their time, whoever listens. */
  async run(plan, behaviour) {
    try {
      for await (const group of paced(plan, behaviour, this.#stop.signal)) {
        this.status = 'in_progress'
        this.events.push(...group)
        this.#notify()
      }
      this.finish(this.events)
    } catch (error) {
      if (!this.#stop.signal.aborted) throw error
      this.ended = true
    }
    this.#notify()
  }

  /** The events from place `from`, and those to come, in groups. */
  async* follow(from, left) {
    const gone = new Promise((resolve) => left.addEventListener('abort', resolve, { once: true }))
    for (let next = from; !left.aborted;) {
      const changed = this.#change.promise
      if (next < this.events.length) {
        const group = this.events.slice(next)
        next += group.length
        yield group
      } else if (this.ended) {
        return
      } else {
        await Promise.race([changed, gone])
      }
    }
  }

  cancel() {
    if (this.ended) return
    this.status = 'cancelled'
    this.#stop.abort()
  }

  /** The response as it is by now. */
  tell() {
    const text = this.events.map((event) => event.text ?? '').join('')
    const whole = this.ended && this.status !== 'cancelled' && this.#lastResponse()
    return whole || responseObject(this.turn, this.body, this.status, text)
  }

  #lastResponse() {
    return this.events.findLast(({ data }) => data.response)?.data.response
  }

  #notify() {
    this.#change.resolve()
    this.#change = nextChange()
  }
}

function nextChange() {
  const change = {}
  change.promise = new Promise((resolve) => { change.resolve = resolve })
  return change
}

/** The responses that can be asked for again, the oldest first. */
const stored = new Map()

function remember(response) {
  stored.set(response.turn.id, response)
  if (stored.size > STORED_MAX) stored.delete(stored.keys().next().value)
}

async function create(call) {
  const begun = await call.begin()
  if (!begun) return
  const { turn, streamed, opened } = begun
  const { body } = call
  const plan = call.plan(turn, opened)
  if (body.background) return createApart(call, { turn, streamed, opened, plan })
  if (streamed) await call.stream(paced(plan, opened.behaviour, call.left), opened)
  else await call.sendWhole(turn, opened)
  // What was broken off was never finished, and cannot be asked for.
  if (body.store === false || opened.record.state !== 'whole') return
  const response = new Stored(turn, body)
  response.finish(streamed ? plan : [{ data: { response: responseObject(turn, body, endStatus(turn)) } }])
  remember(response)
}

/** A generation that does not care whether anybody follows it. */
async function createApart(call, { turn, streamed, opened, plan }) {
  const response = new Stored(turn, call.body, 'queued')
  remember(response)
  const generated = response.run(plan, opened.behaviour)
  if (streamed) await call.stream(response.follow(0, call.left), opened)
  else await call.sendJson(200, response.tell(), opened)
  await generated
}

async function retrieve(call, id) {
  const response = stored.get(id)
  const opened = await call.open({ kind: 'resume', prompt: '' })
  if (!opened) return
  if (!response) return call.refuse(unknown(id), opened)
  if (call.url.searchParams.get('stream') !== 'true') return call.sendJson(200, response.tell(), opened)
  if (!response.body.background) return call.refuse(invalid(NOT_FOR_STREAMING), opened)
  const after = call.url.searchParams.get('starting_after')
  if (after !== null && !/^\d+$/.test(after)) {
    return call.refuse(invalid('Invalid \'starting_after\': expected a sequence number.'), opened)
  }
  opened.record.answerId = `${id}#resume`
  await call.stream(response.follow(after === null ? 0 : Number(after) + 1, call.left), opened)
}

async function cancel(call, id) {
  const response = stored.get(id)
  const opened = await call.open({ kind: 'cancel', prompt: '' })
  if (!opened) return
  if (!response) return call.refuse(unknown(id), opened)
  if (!response.body.background) return call.refuse(invalid('Cannot cancel a synchronous response.'), opened)
  response.cancel()
  await call.sendJson(200, response.tell(), opened)
}

function invalid(message, code) {
  return { status: 400, message, code }
}

function unknown(id) {
  return { status: 404, message: `Response with id '${id}' not found.` }
}

function refusal(call) {
  const { body, request, simulator } = call
  if (request.method !== 'POST' || !call.url.pathname.endsWith('/responses')) return missingKey(call)
  if (typeof body.model !== 'string') return missingParameter('model')
  if (body.input === undefined) return missingParameter('input')
  if (body.background && !simulator.background) return invalid('Unknown parameter: \'background\'.', 'unknown_parameter')
  if (body.background && body.store === false) return invalid('Background mode requires store=true.')
  return missingKey(call)
}

function read(body) {
  const said = typeof body.input === 'string' ? [{ role: 'user', content: body.input }] : body.input
  const items = Array.isArray(said) ? said : []
  const choice = body.tool_choice
  const tools = (body.tools ?? []).filter(({ type }) => type === 'function')
  return {
    prompt: textOf(items.findLast(({ role }) => role === 'user')?.content),
    model: body.model,
    streamed: body.stream === true,
    tools: choice === 'none' ? [] : tools.map(({ name, parameters }) => ({ name, schema: parameters })),
    forcedTool: choice === 'required' ? true : choice?.name,
    afterTool: items.at(-1)?.type === 'function_call_output',
    tokensMax: body.max_output_tokens ?? undefined,
  }
}

function plan(turn, body, behaviour) {
  const events = [
    { type: 'response.created', response: responseObject(turn, body, body.background ? 'queued' : 'in_progress') },
    ...(body.background ? [{ type: 'response.queued', response: responseObject(turn, body, 'queued') }] : []),
    { type: 'response.in_progress', response: responseObject(turn, body, 'in_progress') },
    ...(turn.tool ? toolEvents(turn) : messageEvents(turn)),
    { type: `response.${endStatus(turn)}`, response: responseObject(turn, body, endStatus(turn)) },
  ]
  return [...numbered(events), ...(behaviour.done ? [{ data: '[DONE]' }] : [])]
}

function messageEvents(turn) {
  const place = { item_id: itemId(turn), output_index: 0, content_index: 0 }
  const [item] = output(turn)
  const [part] = item.content
  return [
    { type: 'response.output_item.added', output_index: 0, item: { ...item, status: 'in_progress', content: [] } },
    { type: 'response.content_part.added', ...place, part: { ...part, text: '' } },
    ...turn.tokens.map((delta) => ({ type: 'response.output_text.delta', ...place, delta, logprobs: [] })),
    { type: 'response.output_text.done', ...place, text: turn.text, logprobs: [] },
    { type: 'response.content_part.done', ...place, part },
    { type: 'response.output_item.done', output_index: 0, item },
  ]
}

function toolEvents(turn) {
  const [item] = output(turn)
  const place = { item_id: item.id, output_index: 0 }
  return [
    { type: 'response.output_item.added', output_index: 0, item: { ...item, status: 'in_progress', arguments: '' } },
    ...turn.tool.pieces.map((delta) => ({ type: 'response.function_call_arguments.delta', ...place, delta })),
    { type: 'response.function_call_arguments.done', ...place, name: item.name, arguments: item.arguments },
    { type: 'response.output_item.done', output_index: 0, item },
  ]
}

function numbered(events, from = 0) {
  return events.map(({ type, ...rest }, index) => ({
    event: type,
    data: { type, sequence_number: from + index, ...rest },
    text: type === 'response.output_text.delta' ? rest.delta : undefined,
  }))
}

/** Both ways in which servers tell of it: the bare event, and the response that has failed. */
function failure(turn, before, body) {
  const { type: code, message } = SERVER_ERROR
  const text = before.map((event) => event.text ?? '').join('')
  const response = { ...responseObject(turn, body, 'failed', text), error: { code, message } }
  return numbered([{ type: 'error', code, message, param: null }, { type: 'response.failed', response }], before.length)
}

/** The response in one of its states; `text` is what there is of it where it is not whole. */
function responseObject(turn, body, status, text) {
  const whole = status === endStatus(turn)
  return {
    id: turn.id,
    object: 'response',
    created_at: Math.floor(turn.created_ms / 1000),
    status,
    background: body.background === true,
    error: null,
    incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    model: turn.model,
    output: whole ? output(turn) : text ? output({ ...turn, text, tool: undefined, finish: 'length' }) : [],
    parallel_tool_calls: true,
    previous_response_id: body.previous_response_id ?? null,
    reasoning: { effort: null, summary: null },
    service_tier: 'default',
    store: body.store !== false,
    temperature: body.temperature ?? 1,
    text: { format: { type: 'text' } },
    tool_choice: body.tool_choice ?? 'auto',
    tools: body.tools ?? [],
    top_p: body.top_p ?? 1,
    truncation: 'disabled',
    usage: whole ? usage(turn) : null,
    user: null,
    metadata: body.metadata ?? {},
  }
}

function output(turn) {
  const status = turn.finish === 'length' ? 'incomplete' : 'completed'
  if (turn.tool) {
    const { id, name, pieces } = turn.tool
    return [{ id: id.replace('call_', 'fc_'), type: 'function_call', status, arguments: pieces.join(''), call_id: id, name }]
  }
  const part = { type: 'output_text', annotations: [], logprobs: [], text: turn.text }
  return [{ id: itemId(turn), type: 'message', status, content: [part], role: 'assistant' }]
}

function usage({ inputTokens, outputTokens }) {
  return {
    input_tokens: inputTokens,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens: outputTokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: inputTokens + outputTokens,
  }
}

function endStatus({ finish }) {
  return finish === 'length' ? 'incomplete' : 'completed'
}

function itemId({ id }) {
  return id.replace('resp_', 'msg_')
}

const NOT_FOR_STREAMING = 'This response cannot be streamed because it was not created with background=true.'
const STORED_MAX = 1_000
