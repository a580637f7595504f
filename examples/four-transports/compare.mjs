// One topic read in four ways at the same time, and what each costs on the wire.
//
//     node compare.mjs [--events 40] [--every MS]
//
// Each reader connects through a relay of its own that counts the bytes of its connections, headers and all. Publishing
// goes on beside them. When the topic has ended, the table is printed.

import { createConnection, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { EventSource } from 'eventsource'
import WebSocket from 'ws'

const LONGWAVE = process.env.LONGWAVE_SERVER ?? 'http://127.0.0.1:4480'
const SHORT_POLL_EVERY_MS = 500

const { values: options } = parseArgs({
  options: { events: { type: 'string', default: '40' }, every: { type: 'string', default: '250' } },
})
const count = Number(options.events)
const topic = `compare/${crypto.randomUUID()}`

const readers = { 'short poll': shortPoll, 'long poll': longPoll, SSE: eventSource, WebSocket: webSocket }
const reading = Object.entries(readers).map(([name, reader]) => measure(name, reader))
await publish()
const results = await Promise.all(reading)

console.table(Object.fromEntries(results.map(({ name, ...figures }) => [name, figures])))
const wanted = Array.from({ length: count }, (_, index) => index + 1).join()
const wrong = results.filter(({ numbers }) => numbers.join() !== wanted)
for (const { name, numbers } of wrong) console.log(`${name} received ${numbers.join()}`)
if (wrong.length === 0) console.log(`each received all ${count} events, once and in order`)
process.exit(wrong.length)

/** Runs a reader through a relay. It says what it received by `on.event`, and how often it asked by `on.request`. */
async function measure(name, reader) {
  const relay = await openRelay(new URL(LONGWAVE))
  const numbers = []
  let requests = 0
  let delays = 0
  await reader(`http://127.0.0.1:${relay.port}/topics/${topic}`, {
    request: () => { requests += 1 },
    event: ({ number, sent }) => {
      numbers.push(number)
      delays += Date.now() - sent
    },
  })
  relay.close()
  const figures = {
    events: numbers.length,
    requests,
    'bytes received': relay.received,
    'bytes sent': relay.sent,
    'mean delay, ms': Math.round(delays / numbers.length),
  }
  return Object.defineProperty({ name, ...figures }, 'numbers', { value: numbers })
}

async function shortPoll(url, on) {
  for (let page = { cursor: 'first' }; !page.end; await sleep(SHORT_POLL_EVERY_MS)) {
    page = await readPage(`${url}?after=${page.cursor}`, on)
  }
}

async function longPoll(url, on) {
  for (let page = { cursor: 'first' }; !page.end; ) {
    page = await readPage(`${url}?after=${page.cursor}&wait=25s`, on)
  }
}

async function readPage(url, on) {
  on.request()
  const response = await fetch(url, { headers: { Accept: 'application/json' } })
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`)
  const page = await response.json()
  for (const event of page.events) on.event(event.data)
  return page
}

function eventSource(url, on) {
  return new Promise((resolve) => {
    const source = new EventSource(`${url}?after=first`, {
      fetch: (input, init) => {
        on.request()
        return fetch(input, init)
      },
    })
    source.onmessage = ({ data }) => on.event(JSON.parse(data))
    source.addEventListener('longwave.end', () => {
      source.close()
      resolve()
    })
  })
}

function webSocket(url, on) {
  return new Promise((resolve, reject) => {
    on.request()
    const socket = new WebSocket(`${url}?after=first`.replace(/^http/, 'ws'), 'longwave.v1')
    socket.onerror = ({ error }) => reject(error)
    socket.onclose = resolve
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data)
      if (message.id) on.event(message.data)
      if (message.end) socket.close()
    }
  })
}

async function publish() {
  for (let number = 1; number <= count; number += 1) {
    const last = number === count ? '?end=done' : ''
    const response = await fetch(`${LONGWAVE}/topics/${topic}${last}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ number, sent: Date.now() }),
    })
    if (!response.ok) throw new Error(`publish: ${response.status} ${await response.text()}`)
    await response.arrayBuffer()
    await sleep(Number(options.every))
  }
}

/** A port that passes everything on to `target` and counts it. */
async function openRelay(target) {
  const relay = { port: 0, sent: 0, received: 0, close: () => listener.close() }
  const listener = createServer((client) => {
    const upstream = createConnection(Number(target.port || 80), target.hostname)
    client.on('data', (bytes) => { relay.sent += bytes.length }).pipe(upstream)
    upstream.on('data', (bytes) => { relay.received += bytes.length }).pipe(client)
    client.on('error', () => upstream.destroy())
    upstream.on('error', () => client.destroy())
  })
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve))
  relay.port = listener.address().port
  return relay
}
