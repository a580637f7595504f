// What the examples' `check.mjs` files share: running programs, waiting for a state, publishing, ending everything.
//
// A check waits for what it expects (a line, an event, a text on the page), never for time to pass; the one limit is
// `HANG_MS`, which says "this will not come any more". Read `check` first; pages are in `browser.mjs`.

import { spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { join } from 'node:path'

export { strict as assert } from 'node:assert'

/** A limit for a hang, not for a speed: far above what a loaded two-core machine needs. */
export const HANG_MS = 90_000

const KILL_AFTER_MS = 10_000
const POLL_MS = 50
const LINES_TOLD = 40

/** The server that the runner started for this example. */
export const server = required('LONGWAVE_SERVER')

/** An empty folder that is removed after the check. */
export const folder = required('EXAMPLE_FOLDER')

/** The Python that has the example's requirements, else the machine's. */
export const python = process.env.EXAMPLE_PYTHON ?? 'python3'

const endings = []

/** Runs a check, then ends whatever it started, and tells the runner by the exit code. */
export async function check(body) {
  process.once('SIGTERM', () => finish(new Error('told to end')))
  process.once('uncaughtException', finish)
  try {
    await body()
    await finish()
  } catch (error) {
    await finish(error)
  }
}

/** Has `end` called when the check is over, whichever way it went; the last one registered goes first. */
export function atEnd(end) {
  endings.unshift(end)
}

async function finish(error) {
  if (error) console.error(error)
  // The body may still be running, and start something while this ends the rest.
  while (endings.length > 0) {
    await endings.shift()(error).catch((problem) => console.error('while ending:', problem))
  }
  process.exit(error ? 1 : 0)
}

/** A program of the example, with its output by lines. */
export class Program {
  lines = []
  code = undefined
  #name
  #child
  #changed = new Set()

  constructor(command, args, { cwd, env } = {}) {
    this.#name = [command, ...args].join(' ')
    // A process group of its own, so that a pipeline in a script ends whole.
    this.#child = spawn(command, args, { cwd, env: { ...process.env, PYTHONUNBUFFERED: '1', ...env }, detached: true })
    this.#child.on('error', (error) => this.#end(`cannot start: ${error.message}`))
    this.#child.on('close', (code, signal) => this.#end(code ?? signal))
    this.#child.stdin.on('error', () => {}) // it ended before it read everything, which `exit` tells
    this.#read(this.#child.stdout)
    this.#read(this.#child.stderr)
    atEnd(async (failed) => {
      await this.stop()
      if (failed) console.error(`--- ${this.#name} (${this.code})\n${this.lines.slice(-LINES_TOLD).join('\n')}`)
    })
  }

  /** Writes a line to its standard input. */
  say(line) {
    this.#child.stdin.write(`${line}\n`)
  }

  /** Ends its standard input. */
  hush() {
    this.#child.stdin.end()
  }

  /** The first line, past or to come, that matches. */
  async line(pattern) {
    const found = () => this.lines.map((line) => line.match(pattern)).find(Boolean)
    await this.#until(() => found() || this.code !== undefined, `a line like ${pattern}`)
    const match = found()
    if (!match) throw new Error(`${this.#name} ended (${this.code}) without a line like ${pattern}`)
    return match
  }

  /** Its exit code, when it has ended by itself. */
  async exit() {
    await this.#until(() => this.code !== undefined, 'its end')
    return this.code
  }

  /** Ends it by `signal`; a program that ignores that is killed. */
  async stop(signal = 'SIGTERM') {
    if (this.code !== undefined) return
    this.#signal(signal)
    const kill = setTimeout(() => this.#signal('SIGKILL'), KILL_AFTER_MS)
    await this.exit()
    clearTimeout(kill)
  }

  #signal(signal) {
    try {
      process.kill(-this.#child.pid, signal)
    } catch {
      // gone already, and `close` is on its way
    }
  }

  #read(stream) {
    let rest = ''
    stream.setEncoding('utf8').on('data', (text) => {
      // A progress bar redraws its line by a lone CR.
      const parts = (rest + text).split(/\r?\n|\r/)
      rest = parts.pop()
      this.lines.push(...parts)
      this.#notify()
    })
    stream.on('end', () => {
      if (rest) this.lines.push(rest)
      this.#notify()
    })
  }

  #end(code) {
    this.code ??= code
    this.#notify()
  }

  #notify() {
    for (const changed of this.#changed) changed()
  }

  #until(condition, what) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#changed.delete(changed)
        reject(new Error(`${this.#name}: waited ${HANG_MS} ms for ${what}`))
      }, HANG_MS)
      const changed = () => {
        if (!condition()) return
        clearTimeout(timer)
        this.#changed.delete(changed)
        resolve()
      }
      this.#changed.add(changed)
      changed()
    })
  }
}

/** A way to the server whose connections a check can cut, as a network does. */
export async function openRelay() {
  const relay = { target: new URL(server) }
  const sockets = new Set()
  const listener = createServer((client) => {
    const upstream = createConnection(Number(relay.target.port), relay.target.hostname)
    for (const [socket, other] of [[client, upstream], [upstream, client]]) {
      sockets.add(socket)
      socket.pipe(other)
      socket.on('error', () => other.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
  })
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve))
  relay.url = `http://127.0.0.1:${listener.address().port}`
  relay.cut = () => {
    for (const socket of sockets) socket.resetAndDestroy()
  }
  atEnd(async () => {
    listener.close()
    relay.cut()
  })
  return relay
}

/**
 * A server of the check's own, which it may stop and start again. It keeps its address, which is a relay's. `gateway` maps
 * prefixes to what they stand for: `{ '/v1': 'http://127.0.0.1:9100/v1' }`.
 */
export async function startServer({ gateway = {} } = {}) {
  const relay = await openRelay()
  const data = mkdtempSync(join(folder, 'server-'))
  const routes = Object.entries(gateway).flatMap(([prefix, upstream]) => ['--gateway', `${prefix}=${upstream}`])
  const start = async () => {
    const program = new Program('longwave', ['serve', '--listen', '127.0.0.1:0', '--data', data, ...routes])
    const [, url] = await program.line(/^listening on (http:\/\/\S+)/)
    relay.target = new URL(url)
    return program
  }
  let program = await start()
  const stop = (signal) => program.stop(signal)
  return { url: relay.url, cut: relay.cut, stop, start: async () => { program = await start() } }
}

/** Waits until `probe` returns something true, and returns that. */
export async function until(what, probe) {
  const hangs = Date.now() + HANG_MS
  for (;;) {
    const found = await probe()
    if (found) return found
    if (Date.now() > hangs) throw new Error(`waited ${HANG_MS} ms for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

/** Publishes `data` (a string, or anything else as JSON) and returns the server's answer. */
export async function publish(topic, data, to = server) {
  const text = typeof data === 'string'
  const response = await fetch(`${to}/topics/${topic}`, {
    method: 'POST',
    headers: { 'Content-Type': text ? 'text/plain' : 'application/json' },
    body: text ? data : JSON.stringify(data),
  })
  if (response.status !== 201) throw new Error(`publish to ${topic}: ${response.status} ${await response.text()}`)
  return response.json()
}

/** Everything a topic or selector holds, by short polls, and how it ended. */
export async function readAll(topic, from = server) {
  const path = topic.includes('*') ? `events?topic=${topic}&` : `topics/${topic}?`
  const events = []
  let after = 'first'
  for (;;) {
    const page = await readPage(`${path}after=${after}`, from)
    events.push(...page.events)
    if (page.events.length === 0 || page.end) return { events, end: page.end }
    after = page.cursor
  }
}

/** One JSON page. */
export async function readPage(path, from = server) {
  const response = await fetch(`${from}/${path}`, { headers: { Accept: 'application/json' } })
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
  return response.json()
}

function required(name) {
  const value = process.env[name]
  if (!value) {
    console.error(`${name} is not set: run this through examples/check.py`)
    process.exit(2)
  }
  return value
}
