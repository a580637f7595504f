// The simulator behind Longwave's gateway: an answer whose connection is lost, however often and wherever, is in the end byte
// for byte what the simulator says that it sent, and it was asked once. Read `comesToTheWhole` first.

import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { assert, folder, Program, startServer, until } from '../harness/check.mjs'
import { commands, starts } from '../harness/readme.mjs'
import { Client, DIALECTS } from './client.mjs'

const ID_LINES = /^id: [\w-]{22}:\d+\n/gm
const SIGNS_OF_LIFE = /^:\n/gm

/** Loses answers of the simulator at `upstream` in every dialect. */
export async function checkGateway(upstream) {
  const prefixes = ['/v1', '/ui', '/api', '/sse']
  const server = await startServer({ gateway: Object.fromEntries(prefixes.map((prefix) => [prefix, upstream + prefix])) })
  const simulator = new Client(upstream)
  for (const [name, ask] of [...Object.keys(DIALECTS).map((name) => [name, askDialect(name)]), ['sse', askPlain]]) {
    const check = (how, loss) => comesToTheWhole(`${name}, ${how}`, ask, { server, simulator, ...loss })
    await check('hung up on after each event', { events: 1, extra: 0 })
    // In the middle of an event, wherever that is: at its first byte, in its frame, in its text, in its id.
    for (const extra of [1, 9, 60, 150]) await check(`hung up on ${extra} bytes into each third event`, { events: 2, extra })
    await check('broken off by the network', { events: 5, breakOff: server.cut })
  }
}

function askDialect(name) {
  const { path, body, headers } = DIALECTS[name]
  return (prompt, options) => [path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body(`${prompt} [simulate: ${options}]`)),
  }]
}

function askPlain(prompt, options) {
  return [`/sse/count?to=30&${new URLSearchParams({ about: prompt, simulate: options })}`, {}]
}

/** Runs the README's commands as they are written, but for the addresses, and looks at what they leave. */
export async function checkReadme() {
  const [simulator, gateway, ask, resume, tell] = commands('## Run it')
  const upstream = await starts(simulator, ['--port', '0'], /^simulating .* on http:\/\/(127\.0\.0\.1:\d+)$/)
  const data = mkdtempSync(join(folder, 'readme-'))
  const told = (text) => text.replace(/(localhost|127\.0\.0\.1):9100/g, upstream)
  const server = await starts(told(gateway), ['--listen', '127.0.0.1:0', '--data', data], /^listening on http:\/\/(\S+)/)
  const terminal = new Program('bash', [], { cwd: data })
  const type = (text) => terminal.say(told(text).replaceAll('localhost:4480', server))
  type(`${ask}echo asked`)
  await terminal.line(/^asked$/)
  type(`${resume.replace(/^curl .*$/m, '$& > rest.txt')}echo "resumed $stream"`)
  await terminal.line(/^resumed \/streams\//)
  type(tell)
  terminal.hush()
  assert.equal(await terminal.exit(), 0)

  const [part, rest] = ['part.txt', 'rest.txt'].map((name) => readFileSync(join(data, name), 'latin1'))
  const { calls, answers: [record] } = JSON.parse(terminal.lines.findLast((line) => line.startsWith('{"simulated":true')))
  assert.equal(calls, 1)
  assert.equal(record.state, 'whole')
  const before = wholeEvents(part)
  assert.ok(before.length > 0 && rest.length > 0, `it was not lost in the middle: ${part.length} bytes, then ${rest.length}`)
  assert.equal(sha256(withoutOurs(before + rest)), record.sha256)
}

/** The answer to a prompt, lost on each connection after so many events (and bytes), against what upstream sent. */
async function comesToTheWhole(prompt, ask, { server, simulator, ...loss }) {
  const calls = async () => (await simulator.json('/simulator/answers')).calls
  const callsBefore = await calls()
  // The network is broken while the answer goes on, which therefore takes longer than that.
  const [path, request] = ask(prompt, `unicode ${loss.breakOff ? 'words=60 delay=20ms' : 'words=12 delay=2ms'}`)
  const first = await receive(server.url + path, request, loss)
  assert.equal(first.status, 200, prompt)
  const stream = first.headers.get('longwave-stream')
  assert.match(stream, /^\/streams\/[\w-]{22}$/)
  const isLines = first.headers.get('content-type').includes('ndjson')
  let bytes = wholeEvents(first.bytes, isLines)
  let last = first
  let connections = 1
  while (last.lost) {
    last = await receive(...goOn(server.url + stream, bytes, isLines), loss)
    bytes += wholeEvents(last.bytes, isLines)
    connections += 1
  }
  assert.ok(connections > 1, `${prompt}: it was never lost`)
  const record = await until('the end of the record', async () => {
    const told = await simulator.record(first.headers.get('x-request-id'))
    return told.state !== 'running' && told
  })
  assert.equal(record.state, 'whole', prompt)
  assert.equal(sha256(withoutOurs(bytes)), record.sha256, `${prompt}, over ${connections} connections`)
  assert.equal((await calls()) - callsBefore, 1, prompt)
}

/** The request for what is behind the last event that is there. Lines have no ids, so they are counted. */
function goOn(url, bytes, isLines) {
  const events = bytes.split('\n').length - 1
  if (isLines) return [events > 0 ? `${url}?starting_after=${events - 1}` : url, {}]
  const id = bytes.match(ID_LINES)?.at(-1).slice('id: '.length).trim()
  return [url, { headers: id ? { 'last-event-id': id } : {} }]
}

/** What one connection brings until it is lost. Bytes are the characters of a string. */
async function receive(url, request, { events, extra, breakOff }) {
  const { status, headers, body } = await fetch(url, request)
  const isLines = headers.get('content-type')?.includes('ndjson')
  let bytes = ''
  try {
    for await (const part of body ?? []) {
      bytes += Buffer.from(part).toString('latin1')
      const end = endOfEvent(bytes, events, isLines)
      if (end === undefined) continue
      if (breakOff) breakOff()
      // Hung up, with no more than this.
      else if (bytes.length >= end + extra) return { status, headers, bytes: bytes.slice(0, end + extra), lost: true }
    }
  } catch {
    return { status, headers, bytes, lost: true }
  }
  return { status, headers, bytes, lost: false }
}

function wholeEvents(bytes, isLines = false) {
  const border = borderOf(isLines)
  const last = bytes.lastIndexOf(border)
  return last < 0 ? '' : bytes.slice(0, last + border.length)
}

/** Where the event with this number, from 1, ends; undefined where it has not come whole. */
function endOfEvent(bytes, number, isLines) {
  const border = borderOf(isLines)
  let end = 0
  for (let event = 0; event < number; event += 1) {
    const found = bytes.indexOf(border, end)
    if (found < 0) return undefined
    end = found + border.length
  }
  return end
}

function borderOf(isLines) {
  return isLines ? '\n' : '\n\n'
}

/** The bytes as upstream sent them. */
function withoutOurs(bytes) {
  return bytes.replace(ID_LINES, '').replace(SIGNS_OF_LIFE, '')
}

function sha256(bytes) {
  return createHash('sha256').update(bytes, 'latin1').digest('hex')
}
