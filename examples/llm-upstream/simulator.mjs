// A SIMULATION of LLM providers: their wire formats are real, what they say is invented. No model, no key, no packages.
//
//     node simulator.mjs [--port 9100] [--words 200] [--delay 50ms] …
//
// This file is the program: its flags, its listener, and which dialect takes which request. A request's way is in
// `answering.mjs`; the formats, which are the part to read for reference, are in `dialects/`, a file each.

import { createServer } from 'node:http'
import { parseArgs } from 'node:util'
import { Call } from './answering.mjs'
import { BehaviourError, OPTIONS, parseValue, standardBehaviour } from './behaviour.mjs'
import { anthropic } from './dialects/anthropic.mjs'
import { ollamaChat, ollamaGenerate } from './dialects/ollama.mjs'
import { openaiChat, openaiProblem } from './dialects/openai-chat.mjs'
import { openaiResponses } from './dialects/openai-responses.mjs'
import { plainSse } from './dialects/plain-sse.mjs'
import { vercelUi } from './dialects/vercel-ui.mjs'
import { Records } from './records.mjs'

const DIALECTS = [openaiChat, openaiResponses, anthropic, vercelUi, ollamaGenerate, ollamaChat, plainSse]
const KEEP_ALIVE_MS = 120_000
const NO_JSON = 'We could not parse the JSON body of your request.'
const BODY_BYTES_MAX = 16 * 1024 * 1024

const settings = readFlags()
const simulator = { ...settings, records: new Records() }
const server = createServer((request, response) => {
  response.setHeader('x-simulated', 'true')
  request.socket.setNoDelay(true)
  handle(request, response).catch((error) => fail(response, error))
})
// A generation may take as long as it is told to.
server.requestTimeout = 0
// Longer than a client keeps an idle connection, else a request and the end of its connection may cross.
server.keepAliveTimeout = KEEP_ALIVE_MS
server.listen(settings.port, settings.host, () => {
  const { port } = server.address()
  console.log(`simulating LLM providers on http://${settings.host}:${port}`)
  console.log('A simulation: the answers are invented words, the wire formats are real.')
})
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(0))

async function handle(request, response) {
  const url = new URL(request.url, 'http://simulator')
  if (url.pathname.startsWith('/simulator/')) return tellRecords(request, response, url)
  for (const dialect of DIALECTS) {
    for (const route of dialect.routes) {
      const match = url.pathname.match(route.path)
      if (!match || request.method !== route.method) continue
      const body = request.method === 'POST' ? await readJson(request) : {}
      if (body === undefined) return sendJson(response, 400, dialect.problem(400, NO_JSON))
      return route.answer(new Call({ request, response, url, body, dialect, simulator }), ...match.slice(1))
    }
  }
  sendJson(response, 404, openaiProblem(404, `Invalid URL (${request.method} ${url.pathname})`, 'unknown_url'))
}

function tellRecords(request, response, url) {
  const { records } = simulator
  const id = url.pathname.match(/^\/simulator\/answers(?:\/([^/]+))?$/)
  if (!id) return sendJson(response, 404, { error: 'there is /simulator/answers and /simulator/answers/ID' })
  if (request.method === 'DELETE') {
    records.clear()
    return sendJson(response, 200, records.list())
  }
  if (id[1] === undefined) return sendJson(response, 200, records.list(url.searchParams.get('contains')))
  const record = records.find(id[1])
  return sendJson(response, record ? 200 : 404, record ?? { error: `no call ${id[1]} is recorded` })
}

/** The body as an object; undefined where it is none. */
async function readJson(request) {
  const parts = []
  let bytes = 0
  for await (const part of request) {
    bytes += part.length
    if (bytes > BODY_BYTES_MAX) return undefined
    parts.push(part)
  }
  try {
    const body = JSON.parse(Buffer.concat(parts).toString() || '{}')
    return typeof body === 'object' && body !== null && !Array.isArray(body) ? body : undefined
  } catch {
    return undefined
  }
}

function sendJson(response, status, document) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(document)}\n`)
}

function fail(response, error) {
  // A client that goes while it still sends its request is no fault of this program.
  if (response.destroyed || error.code === 'ECONNRESET') return
  console.error(error)
  if (response.headersSent) response.destroy()
  else sendJson(response, 500, openaiProblem(500, `the simulator itself failed: ${error.message}`))
}

function readFlags() {
  const flagOf = ([name, { kind }]) => [name, { type: kind === 'flag' ? 'boolean' : 'string' }]
  const options = {
    port: { type: 'string', default: '9100' },
    host: { type: 'string', default: '127.0.0.1' },
    'no-background': { type: 'boolean', default: false },
    'require-key': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
    ...Object.fromEntries(Object.entries(OPTIONS).map(flagOf)),
  }
  try {
    const { values } = parseArgs({ options })
    if (values.help) {
      console.log(usage())
      process.exit(0)
    }
    const port = Number(values.port)
    if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new BehaviourError(`--port ${values.port} is no port`)
    const given = Object.keys(OPTIONS).filter((name) => values[name] !== undefined)
    const chosen = given.map((name) => [name, values[name] === true ? true : parseValue(name, values[name])])
    return {
      port,
      host: values.host,
      background: !values['no-background'],
      requireKey: values['require-key'],
      behaviour: { ...standardBehaviour(), ...Object.fromEntries(chosen) },
    }
  } catch (error) {
    console.error(`${error.message}\n--help lists the options`)
    process.exit(2)
  }
}

function usage() {
  const lines = Object.entries(OPTIONS).map(([name, { kind, help }]) =>
    `  --${(kind === 'flag' ? name : `${name} <${kind}>`).padEnd(22)} ${help}`)
  return `Simulates LLM providers: real wire formats, invented answers.

Usage: node simulator.mjs [options]

  --port <port>            where to listen (9100); 0 takes a free one
  --host <address>         on which address (127.0.0.1)
  --no-background          refuse \`background\` in /v1/responses, as upstreams that lack it do
  --require-key            refuse OpenAI requests without a key

How every answer behaves, unless its request says otherwise:

${lines.join('\n')}`
}
