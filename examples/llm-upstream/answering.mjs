// One call from the request to the end of its answer: what every dialect does the same way.
//
// A dialect is an object with
//
//     name, framing, idPrefix  framing is `sse` or `ndjson`; the id of an answer begins with the prefix
//     routes                   [{ method, path: RegExp, answer(call, ...groups) }]
//     headers(id)              what the provider puts on each answer
//     refusal(call)            undefined, or { status, message, code } for a request that the provider would not take
//     read(body)               { prompt, model, streamed, tools, forcedTool, afterTool, tokensMax }
//     plan(turn, body, behaviour)   the events of a streamed answer: [{ event?, data, text? }], where `text` is what a
//                              reader adds to what it shows
//     whole(turn, body)        the answer that is not streamed
//     failure(turn, before, body)   the events that tell of an error after the events `before`
//     problem(status, message, code, id)   the body of an HTTP error; all but the status may be missing
//
// Read `Call` first. The dialects are in `dialects/`, the sending in `delivery.mjs`.

import { setTimeout as sleep } from 'node:timers/promises'
import { behaviour as combine, BehaviourError, withoutFaults } from './behaviour.mjs'
import { deliver, deliverJson, paced } from './delivery.mjs'
import { encodeNdjson, encodeSse } from './sse.mjs'
import { makeTurn, newId, readPrompt } from './turn.mjs'

/** A request to a dialect's route. */
export class Call {
  /** Aborted when the client goes before its answer is whole. */
  left
  id = newId('req_')

  constructor({ request, response, url, body, dialect, simulator }) {
    Object.assign(this, { request, response, url, body, dialect, simulator })
    const left = new AbortController()
    response.on('close', () => left.abort())
    this.left = left.signal
  }

  /** Answers by a new turn: refuses, fails, streams or sends it whole. */
  async generate() {
    const begun = await this.begin()
    if (!begun) return
    const { turn, streamed, opened } = begun
    if (streamed) await this.stream(paced(this.plan(turn, opened), opened.behaviour, this.left), opened)
    else await this.sendWhole(turn, opened)
  }

  /** The turn that answers this call; undefined where it has been refused, or failed as it was asked to. */
  async begin() {
    const { dialect, body } = this
    const { streamed, ...read } = dialect.read(body)
    const opened = await this.open({ kind: 'generation', prompt: read.prompt })
    if (!opened) return undefined
    const turn = { id: newId(dialect.idPrefix), ...makeTurn({ ...read, behaviour: opened.behaviour }) }
    return { turn, streamed, opened }
  }

  /** The record and behaviour of this call; undefined where it has been refused, or failed as it was asked to. */
  async open({ kind, prompt }) {
    const { options, rest } = readPrompt(prompt)
    const { records } = this.simulator
    const record = records.open({ id: this.id, kind, dialect: this.dialect.name, request: this.request, prompt: rest })
    const generates = kind === 'generation'
    let behaviour = this.simulator.behaviour
    let refusal
    try {
      // Whoever comes back to an answer meets only the faults that he asks for: what was to go wrong has gone wrong.
      const standard = generates ? behaviour : withoutFaults(behaviour)
      behaviour = combine(standard, options, this.url.searchParams.get('simulate'), this.request.headers['x-simulate'])
      refusal = this.dialect.refusal(this)
    } catch (error) {
      if (!(error instanceof BehaviourError)) throw error
      refusal = { status: 400, message: error.message }
    }
    if (generates && records.count(rest) > behaviour.faults) behaviour = withoutFaults(behaviour)
    const opened = { record, behaviour }
    if (behaviour.wait > 0) {
      await sleep(behaviour.wait, undefined, { signal: this.left }).catch(() => {})
      if (this.left.aborted) {
        record.state = 'client-left'
        return undefined
      }
    }
    if (behaviour.status && !refusal) refusal = { status: behaviour.status }
    if (!refusal) return opened
    await this.refuse(refusal, opened)
    return undefined
  }

  /** An HTTP error, in the dialect's words. */
  async refuse({ status, message, code }, opened) {
    const retry = status === 429 ? { 'retry-after': '1' } : {}
    await this.sendJson(status, this.dialect.problem(status, message, code, this.id), opened, retry)
  }

  /** The events that will be sent, with what is to go wrong among them. */
  plan(turn, { record, behaviour }) {
    const { dialect, body } = this
    const whole = dialect.plan(turn, body, behaviour)
    record.answerId = turn.id
    record.plannedText = whole.map(({ text = '' }) => text).join('')
    record.tools = toolsOf(turn)
    const failsAt = behaviour['error-first'] ? 0 : behaviour['error-at']
    if (failsAt === undefined) return whole
    const before = whole.slice(0, failsAt)
    return [...before, ...dialect.failure(turn, before, body)]
  }

  /** Sends groups of events to the end, or as far as it gets. */
  async stream(groups, { record, behaviour }) {
    const sse = this.dialect.framing === 'sse'
    record.status = 200
    record.streamed = true
    record.state = await deliver(this.response, groups, {
      encode: sse ? encodeSse : encodeNdjson,
      headers: {
        'content-type': sse ? 'text/event-stream; charset=utf-8' : 'application/x-ndjson',
        ...(sse && { 'cache-control': 'no-cache' }),
        ...this.headers(),
      },
      behaviour,
      record,
      left: this.left,
    })
  }

  /** The answer that is not streamed. */
  async sendWhole(turn, opened) {
    const { record } = opened
    record.answerId = turn.id
    record.text = record.plannedText = turn.text
    record.tools = toolsOf(turn)
    await this.sendJson(200, this.dialect.whole(turn, this.body), opened)
  }

  /** Sends one JSON document. */
  async sendJson(status, document, { record, behaviour }, headers) {
    record.status = status
    record.answerId ??= document.id
    record.state = await deliverJson(this.response, status, document, {
      headers: { ...this.headers(), ...headers },
      behaviour,
      record,
    })
  }

  headers() {
    return { ...this.dialect.headers?.(this.id), 'x-request-id': this.id }
  }
}

function toolsOf({ tool }) {
  return tool ? [{ name: tool.name, input: tool.input }] : []
}
