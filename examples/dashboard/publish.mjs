// Publishes this machine's load, read from /proc, once a second.
//
//     node publish.mjs [--every MS]

import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

const LONGWAVE = process.env.LONGWAVE_SERVER ?? 'http://127.0.0.1:4480'
const { values: options } = parseArgs({ options: { every: { type: 'string', default: '1000' } } })
const topic = `${LONGWAVE}/topics/dashboard/${encodeURIComponent(hostname())}`

// A sample is of no use once a newer one is out: keep ten minutes, and don't wait for the disk.
await send('PUT', { max_events: 600, durability: 'memory' })
console.log(`publishing to ${topic}`)

let before = await readCounters()
for (;;) {
  await sleep(Number(options.every))
  const now = await readCounters()
  await send('POST', await sample(before, now))
  before = now
}

async function sample(before, now) {
  const busy = 1 - (now.idle - before.idle) / Math.max(1, now.total - before.total)
  const seconds = (now.at - before.at) / 1000
  const memory = await readMemory()
  return {
    cpu_percent: round(100 * busy),
    memory_percent: round(100 * (1 - memory.MemAvailable / memory.MemTotal)),
    load_average: Number((await readFile('/proc/loadavg', 'utf8')).split(' ')[0]),
    network_bytes_per_second: Math.round((now.network - before.network) / seconds),
  }
}

/** Counters that only grow; a sample is the difference of two of them. */
async function readCounters() {
  const [cpu] = (await readFile('/proc/stat', 'utf8')).split('\n')
  const ticks = cpu.split(/\s+/).slice(1, 9).map(Number)
  const interfaces = (await readFile('/proc/net/dev', 'utf8')).split('\n').slice(2).filter(Boolean)
  return {
    at: performance.now(),
    idle: ticks[3] + ticks[4], // idle, and waiting for a disk
    total: sum(ticks),
    network: sum(interfaces.map((line) => {
      const fields = line.split(':')[1].trim().split(/\s+/)
      return Number(fields[0]) + Number(fields[8]) // received, sent
    })),
  }
}

async function readMemory() {
  const lines = (await readFile('/proc/meminfo', 'utf8')).split('\n')
  return Object.fromEntries(lines.map((line) => line.split(/:\s+/)).map(([name, value]) => [name, parseInt(value)]))
}

async function send(method, body) {
  const response = await fetch(topic, {
    method,
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`${method} ${topic}: ${response.status} ${await response.text()}`)
  await response.arrayBuffer()
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0)
}

function round(percent) {
  return Math.round(Math.min(100, Math.max(0, percent)) * 10) / 10
}
