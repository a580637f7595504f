// Sending an answer, well or badly: its pace, its compression, and each way in which a stream can break off.
//
// `paced` turns a plan (a list of events) into groups that come in time; `deliver` writes groups until the end, or until the
// behaviour says that something happens. Every write is waited for, so a break comes exactly behind what was meant to be
// sent, and a slow reader slows its answer, and nobody else's. What the events say is no matter here.

import { setTimeout as sleep } from 'node:timers/promises'
import { constants, createGzip, gzipSync } from 'node:zlib'

/** The events of `plan` in groups that are written at once, each when its time has come. */
export async function* paced(plan, { first, delay, burst, pace }, signal) {
  if (first > 0) await sleep(first, undefined, { signal })
  if (pace === 'once') {
    yield plan
    return
  }
  let group = []
  let tokens = 0
  for (const event of plan) {
    // What a provider sends around the tokens comes with no delay of its own.
    if (event.text && tokens++ % Math.max(burst, 1) === 0) {
      if (group.length > 0) yield group
      group = []
      if (delay > 0) await sleep(Math.min(delay * Math.max(burst, 1), TIMER_MAX_MS), undefined, { signal })
    } else if (!(event.text && burst > 1) && group.length > 0) {
      yield group
      group = []
    }
    group.push(event)
  }
  if (group.length > 0) yield group
}

/** Sends `groups` of events; resolves with how that ended, once nothing more will be written. */
export async function deliver(response, groups, { encode, headers, behaviour, record, left }) {
  const body = new Body(response, { headers, behaviour, record, acceptsGzip: acceptsGzip(response.req) })
  const stop = nextStop(behaviour)
  let sent = 0
  try {
    body.open()
    if (sent === stop?.at) return await body[stop.does](left)
    for await (const group of groups) {
      const blocks = []
      for (const event of group) {
        blocks.push({ event, bytes: encode(event, behaviour, sent) })
        sent += 1
        if (sent === stop?.at) break
      }
      await body.write(blocks)
      if (sent === stop?.at) return await body[stop.does](left)
    }
    if (behaviour.linger) await sleep(Math.min(behaviour.linger, TIMER_MAX_MS), undefined, { signal: left })
    return await body.end() ? 'whole' : 'client-left'
  } catch (error) {
    if (error === CUT) return 'cut'
    // Whatever was being waited for, the reader is gone.
    if (left.aborted) return 'client-left'
    throw error
  }
}

/** Sends one JSON document; only what breaks bytes can happen to it. */
export async function deliverJson(response, status, document, { headers, behaviour, record }) {
  const whole = Buffer.from(JSON.stringify(document))
  const gzip = behaviour.gzip && acceptsGzip(response.req)
  const sent = whole.subarray(0, behaviour['cut-bytes'] ?? whole.length)
  const bytes = gzip ? gzipSync(whole) : whole
  record.addBytes(sent)
  response.writeHead(status, {
    'content-type': 'application/json',
    ...headers,
    'content-length': bytes.length,
    ...(gzip && { 'content-encoding': 'gzip', vary: 'accept-encoding' }),
  })
  if (sent.length < whole.length) {
    await written(response, bytes.subarray(0, Math.min(sent.length, bytes.length - 1)))
    breakOff(response, behaviour)
    return 'cut'
  }
  return await ended(response, bytes) ? 'whole' : 'client-left'
}

/** A body that is being streamed. Its methods throw `CUT` where the behaviour broke the connection. */
class Body {
  #response
  #headers
  #behaviour
  #record
  #gzip
  #bytes = 0
  #flushed = Promise.resolve()

  constructor(response, { headers, behaviour, record, acceptsGzip }) {
    this.#response = response
    this.#headers = headers
    this.#behaviour = behaviour
    this.#record = record
    if (behaviour.gzip && acceptsGzip) this.#gzip = createGzip()
  }

  open() {
    const compressed = this.#gzip && { 'content-encoding': 'gzip', vary: 'accept-encoding' }
    this.#response.writeHead(200, { ...this.#headers, ...compressed })
    this.#response.flushHeaders()
    this.#gzip?.on('data', (bytes) => { this.#flushed = written(this.#response, bytes) })
  }

  /** Writes blocks at once, or in the pieces that the pace wants, and records each that has gone out whole. */
  async write(blocks) {
    const { pace, gzip } = this.#behaviour
    const together = pace !== 'byte' && pace !== 'split' && !gzip && this.#behaviour['cut-bytes'] === undefined
    if (together) {
      await this.#send(Buffer.concat(blocks.map(({ bytes }) => bytes)))
      for (const { event } of blocks) this.#record.addEvent(event)
      return
    }
    for (const { event, bytes } of blocks) {
      for (const piece of pieces(bytes, pace)) {
        await this.#send(piece)
        // Else the system puts the pieces together again. A byte needs no time, only a packet of its own.
        if (pace === 'split') await sleep(SPLIT_PAUSE_MS)
        if (pace === 'byte') await new Promise(setImmediate)
      }
      this.#record.addEvent(event)
    }
  }

  /** Whether the end, too, went out before the reader was gone. */
  async end() {
    if (this.#gzip) {
      await new Promise((resolve) => this.#gzip.once('end', resolve).end())
      await this.#flushed
    }
    return ended(this.#response)
  }

  async endEarly() {
    return await this.end() ? 'ended-early' : 'client-left'
  }

  async cut() {
    breakOff(this.#response, this.#behaviour)
    return 'cut'
  }

  async hang(left) {
    await new Promise((resolve) => {
      if (left.aborted) resolve()
      left.addEventListener('abort', resolve)
    })
    return 'client-left'
  }

  async #send(bytes) {
    const limit = this.#behaviour['cut-bytes'] ?? Infinity
    const within = bytes.subarray(0, Math.max(limit - this.#bytes, 0))
    this.#bytes += within.length
    this.#record.addBytes(within)
    await (this.#gzip ? this.#compress(within) : written(this.#response, within))
    if (this.#response.destroyed) throw new Error('the reader is gone')
    if (within.length < bytes.length) {
      breakOff(this.#response, this.#behaviour)
      throw CUT
    }
  }

  async #compress(bytes) {
    this.#gzip.write(bytes)
    await new Promise((resolve) => this.#gzip.flush(constants.Z_SYNC_FLUSH, resolve))
    // What was flushed is handed over in a later turn of the event loop than this callback.
    await new Promise(setImmediate)
    await this.#flushed
  }
}

/** What happens first to the stream, and after how many events. */
function nextStop(behaviour) {
  return [['cut', 'cut'], ['end-early', 'endEarly'], ['hang-at', 'hang']]
    .map(([option, does]) => ({ at: behaviour[option], does }))
    .filter(({ at }) => at !== undefined)
    .sort((one, other) => one.at - other.at)[0]
}

function pieces(bytes, pace) {
  if (pace === 'byte') return Array.from(bytes, (_, index) => bytes.subarray(index, index + 1))
  if (pace === 'split') {
    // The second byte of a character that has several, else the middle.
    const inside = bytes.findIndex((byte) => byte >= 0xc0) + 1
    const at = inside > 0 ? inside : bytes.length >> 1
    return [bytes.subarray(0, at), bytes.subarray(at)]
  }
  return [bytes]
}

function acceptsGzip(request) {
  return /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/.test(request.headers['accept-encoding'] ?? '')
}

function written(response, bytes) {
  return new Promise((resolve) => {
    if (bytes.length === 0 || response.destroyed) return resolve()
    // A write to a connection that is gone may never be answered.
    const settle = () => {
      response.off('close', settle)
      resolve()
    }
    response.on('close', settle)
    response.write(bytes, settle)
  })
}

async function ended(response, bytes) {
  if (response.destroyed) return false
  await new Promise((resolve) => response.on('close', resolve).end(bytes, resolve))
  return response.writableFinished
}

function breakOff(response, { reset }) {
  if (reset) response.socket?.resetAndDestroy()
  else response.socket?.destroy()
}

const CUT = Symbol('cut')
const SPLIT_PAUSE_MS = 2
const TIMER_MAX_MS = 2 ** 31 - 1
