// Chat in a terminal: the same room as the page's.
//
//     node chat.mjs ROOM NAME
//
// A room is a topic, and its URL opened as a WebSocket is both ways: messages come in by its subscription and go out as
// `publish`. Type a line to say it; end with Ctrl-D.

import { createInterface } from 'node:readline'
import WebSocket from 'ws'

const RETRY_MS = 1000

const [room, name] = process.argv.slice(2)
if (!room || !name) {
  console.error('usage: node chat.mjs ROOM NAME')
  process.exit(2)
}
const server = (process.env.LONGWAVE_SERVER ?? 'http://127.0.0.1:4480').replace(/^http/, 'ws')

let socket
let lastId // of the newest message shown; a new connection starts behind it
let leaving = false
const unconfirmed = new Map() // by `ref`: said, and not yet known to be kept

connect()

const keyboard = createInterface({ input: process.stdin })
keyboard.on('line', (text) => {
  if (text.trim()) say({ name, text })
})
keyboard.on('close', () => {
  leaving = true
  leaveWhenConfirmed()
})

function connect() {
  const start = lastId ? `after=${lastId}` : 'last=50'
  socket = new WebSocket(`${server}/topics/chat/${encodeURIComponent(room)}?${start}`, 'longwave.v1')
  socket.on('open', () => {
    for (const message of unconfirmed.values()) send(message)
  })
  socket.on('message', (frame) => receive(JSON.parse(frame)))
  socket.on('error', (error) => console.error(`-- ${error.message}`))
  socket.on('close', () => setTimeout(connect, RETRY_MS))
}

function receive({ id, data, ack, error, gap, end }) {
  if (id) {
    lastId = id
    const { name = 'someone', text = data } = data ?? {} // anything can be published to a topic
    console.log(`${name}: ${text}`)
  } else if (ack || error) {
    if (error) console.error(`-- ${error.detail}`)
    unconfirmed.delete((ack ?? error).ref)
    leaveWhenConfirmed()
  } else if (gap) {
    console.log('-- some messages are no longer kept')
  } else if (end) {
    console.log('-- the room is closed')
    process.exit(0)
  }
}

/** The `key` makes it safe to send a message again when it is not known whether the first one arrived. */
function say(data) {
  const ref = crypto.randomUUID()
  unconfirmed.set(ref, { op: 'publish', ref, key: ref, data })
  send(unconfirmed.get(ref))
}

function send(message) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message))
}

function leaveWhenConfirmed() {
  if (leaving && unconfirmed.size === 0) process.exit(0)
}
