// A client of the simulator, or of whatever stands before it: asks in each dialect, and takes an answer to pieces as it came.
//
// `Client` is made for a base URL. `ask` puts a prompt in a dialect's words and reads the text back; `post` and `get` are any
// request; `chunks` shows how a body was written. A body that broke off is told by `broken`, not thrown.

import { connect } from 'node:net'

export const ANTHROPIC_HEADERS = { 'x-api-key': 'key', 'anthropic-version': '2023-06-01' }

/** How a prompt is asked in each dialect, and how the text and the end are read from its events. */
export const DIALECTS = {
  'openai-chat': {
    path: '/v1/chat/completions',
    body: (prompt) => ({ model: 'm', stream: true, messages: [{ role: 'user', content: prompt }] }),
    text: ({ data }) => data.choices?.[0]?.delta.content ?? '',
    failed: ({ data }) => data.error?.type === 'server_error',
  },
  'openai-responses': {
    path: '/v1/responses',
    body: (prompt) => ({ model: 'm', stream: true, input: prompt }),
    text: ({ event, data }) => (event === 'response.output_text.delta' ? data.delta : ''),
    failed: ({ event, data }) => event === 'response.failed' && data.response.status === 'failed',
  },
  anthropic: {
    path: '/v1/messages',
    headers: ANTHROPIC_HEADERS,
    body: (prompt) => ({ model: 'm', max_tokens: 1000, stream: true, messages: [{ role: 'user', content: prompt }] }),
    text: ({ data }) => data.delta?.text ?? '',
    failed: ({ event, data }) => event === 'error' && data.error.type === 'overloaded_error',
  },
  'vercel-ui': {
    path: '/ui/chat',
    body: (prompt) => ({ id: 'c', messages: [{ id: '1', role: 'user', parts: [{ type: 'text', text: prompt }] }] }),
    text: ({ data }) => (data.type === 'text-delta' ? data.delta : ''),
    failed: ({ data }) => data === '[DONE]',
  },
  'ollama-generate': {
    path: '/api/generate',
    body: (prompt) => ({ model: 'm', prompt }),
    text: ({ data }) => data.response ?? '',
    failed: ({ data }) => typeof data.error === 'string',
  },
  'ollama-chat': {
    path: '/api/chat',
    body: (prompt) => ({ model: 'm', messages: [{ role: 'user', content: prompt }] }),
    text: ({ data }) => data.message?.content ?? '',
    failed: ({ data }) => typeof data.error === 'string',
  },
}

export class Client {
  constructor(base) {
    this.base = base
  }

  /** What a dialect says to a prompt: the answer, and the text `said` by its events. */
  async ask(name, prompt) {
    const { path, headers, body, text } = DIALECTS[name]
    const answer = await this.post(path, body(prompt), headers)
    return { ...answer, said: answer.events.map(text).join('') }
  }

  /** The JSON document that answers a `body`, or a `GET` where there is none. */
  async json(path, body, headers) {
    const { status, text } = body ? await this.post(path, body, headers) : await this.get(path, headers)
    if (status !== 200) throw new Error(`${path}: ${status} ${text}`)
    return JSON.parse(text)
  }

  post(path, body, headers) {
    return receive(this.base + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
  }

  get(path, headers) {
    return receive(this.base + path, { headers })
  }

  /** A request whose body is left to the caller to read, or not. */
  open(path, request) {
    return fetch(this.base + path, request)
  }

  /** What the simulator tells of a call, by the id of its answer. */
  record(id) {
    return this.json(`/simulator/answers/${id}`)
  }

  /** What it tells of the last call of a path. */
  async lastRecord(path) {
    const { answers } = await this.json('/simulator/answers')
    return answers.findLast((record) => record.path === path)
  }

  /** A request on a socket of its own, which is returned. */
  socket(path, body, ...headers) {
    const { hostname, port } = new URL(this.base)
    const socket = connect(Number(port), hostname)
    const content = body ? JSON.stringify(body) : ''
    const length = `Content-Length: ${Buffer.byteLength(content)}`
    const lines = [`${body ? 'POST' : 'GET'} ${path} HTTP/1.1`, 'Host: simulator', 'Accept-Encoding: gzip', length, ...headers]
    socket.write(`${lines.join('\r\n')}\r\n\r\n${content}`)
    return socket
  }

  /** The pieces in which a body was written, as the chunks of its encoding show them. */
  async chunks(path, body) {
    const parts = []
    for await (const part of this.socket(path, body, 'Connection: close')) parts.push(part)
    let rest = Buffer.concat(parts)
    rest = rest.subarray(rest.indexOf('\r\n\r\n') + 4)
    const found = []
    for (;;) {
      const sizeEnds = rest.indexOf('\r\n')
      const size = parseInt(rest.subarray(0, sizeEnds), 16)
      if (size === 0) return found
      found.push(rest.subarray(sizeEnds + 2, sizeEnds + 2 + size))
      rest = rest.subarray(sizeEnds + 4 + size)
    }
  }
}

/** A whole answer, or as much of it as came before the connection broke. */
async function receive(url, request) {
  const parts = []
  let broken = false
  const response = await fetch(url, request)
  try {
    for await (const part of response.body) parts.push(part)
  } catch {
    broken = true
  }
  const bytes = Buffer.concat(parts)
  const text = bytes.toString()
  const type = response.headers.get('content-type')
  const events = type.includes('ndjson') ? readLines(text) : type.includes('event-stream') ? readBlocks(text) : []
  const { status, headers } = response
  return { status, headers, id: headers.get('x-request-id'), bytes, text, events, broken }
}

function readLines(text) {
  return text.split('\n').slice(0, -1).map((line) => ({ data: JSON.parse(line) }))
}

/** The events of an SSE body as the standard reads them: blocks that dispatch nothing are none. */
export function readBlocks(text) {
  const events = []
  let fields = {}
  for (const line of text.split(/\r\n|\r|\n/).slice(0, -1)) {
    const [, name, value] = line.match(/^([^:]*):? ?([^]*)$/)
    if (line === '') {
      if (fields.data === '[DONE]') events.push(fields)
      else if ('data' in fields) events.push({ ...fields, data: JSON.parse(fields.data) })
      fields = {}
    } else if (name) {
      fields[name] = value
    }
  }
  return events
}
