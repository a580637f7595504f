// What was really sent, told afterwards: `GET /simulator/answers`, so that a test can compare what arrived with what left,
// and count how often upstream was called. Secrets among the request's headers are kept as their hash only.

import { createHash } from 'node:crypto'

export class Records {
  #records = []
  #counts = noCalls()
  #byPrompt = new Map()

  /** A new call: a `generation`, the `resume` or `cancel` of one, or a `listing`. `prompt` has no directives in it any more. */
  open({ id, kind, dialect, request, prompt }) {
    this.#counts[kind] += 1
    const record = new Record({ id, kind, dialect, request, prompt })
    this.#records.push(record)
    if (this.#records.length > RECORDS_MAX) this.#records.shift()
    return record
  }

  /** How many calls came with this very prompt, this one among them. */
  count(prompt) {
    const key = createHash('sha256').update(prompt).digest('base64')
    const count = (this.#byPrompt.get(key) ?? 0) + 1
    this.#byPrompt.delete(key)
    this.#byPrompt.set(key, count)
    if (this.#byPrompt.size > PROMPTS_MAX) this.#byPrompt.delete(this.#byPrompt.keys().next().value)
    return count
  }

  /** All calls, the oldest first, or those whose prompt contains a text. */
  list(contains) {
    const chosen = this.#records.filter(({ prompt }) => !contains || prompt.includes(contains))
    const count = (kind) => (contains ? chosen.filter((record) => record.kind === kind).length : this.#counts[kind])
    return {
      simulated: true,
      calls: count('generation'),
      resumes: count('resume'),
      cancels: count('cancel'),
      answers: chosen.map((record) => record.tell()),
    }
  }

  /** One call, by its own id (`x-request-id`) or that of its answer (`chatcmpl-…`). */
  find(id) {
    return this.#records.findLast((record) => record.id === id || record.answerId === id)?.tell()
  }

  clear() {
    this.#records = []
    this.#counts = noCalls()
    this.#byPrompt.clear()
  }
}

/** One call, kept up while it is answered. */
class Record {
  answerId = undefined
  status = undefined
  /** `running`, then `whole`, `ended-early`, `cut`, or `client-left`. */
  state = 'running'
  streamed = false
  text = ''
  plannedText = ''
  events = 0
  bytes = 0
  tools = []
  #hash = createHash('sha256')

  constructor({ id, kind, dialect, request, prompt }) {
    Object.assign(this, { id, kind, dialect, prompt, method: request.method, path: request.url, started: new Date() })
    this.headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, conceal(name, value)]))
  }

  addBytes(bytes) {
    this.bytes += bytes.length
    this.#hash.update(bytes)
  }

  addEvent({ text = '' }) {
    this.events += 1
    this.text += text
  }

  tell() {
    return {
      id: this.id,
      answer_id: this.answerId,
      kind: this.kind,
      dialect: this.dialect,
      method: this.method,
      path: this.path,
      headers: this.headers,
      started: this.started.toISOString(),
      prompt: this.prompt,
      status: this.status,
      streamed: this.streamed,
      state: this.state,
      client_left: this.state === 'client-left',
      text: this.text,
      planned_text: this.plannedText,
      tools: this.tools,
      events: this.events,
      bytes: this.bytes,
      sha256: this.#hash.copy().digest('hex'),
    }
  }
}

function noCalls() {
  return { generation: 0, resume: 0, cancel: 0, listing: 0 }
}

function conceal(name, value) {
  return SECRET.has(name) ? `sha256:${createHash('sha256').update(String(value)).digest('hex')}` : value
}

const SECRET = new Set(['authorization', 'proxy-authorization', 'x-api-key', 'api-key', 'cookie'])
const RECORDS_MAX = 20_000
const PROMPTS_MAX = 20_000
