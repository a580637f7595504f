// The generator's words arrive once and in order over several connections, as they are yielded, and survive the service.
// An answer that breaks off says so.

import { assert, check, openRelay, Program, python, readAll, server, until } from '../harness/check.mjs'

const WORDS = 'You asked: Why? Here is a long answer, one word at a time, as a model would give it.'.split(' ')
const HOURS = 7200

check(async () => {
  // The service reaches the server through a connection that can be cut.
  const relay = await openRelay()
  const app = new Program(python, ['-m', 'uvicorn', 'app:app', '--port', '0'], { env: { LONGWAVE_SERVER: relay.url } })
  const [, url] = await app.line(/running on (http:\/\/127\.0\.0\.1:\d+)/)

  // As it is done today: the generator is sound.
  const direct = await (await fetch(`${url}/answer?question=Why%3F&seconds_per_word=0`)).text()
  assert.equal(direct.match(/^event: word$/gm).length, WORDS.length)

  // A reader that hangs up after every fifth event, from the first word on.
  const stream = await ask(url, 'Why?', 0.05)
  const dropping = new Program(python, ['read.py', stream, '--drop-after', '5'])
  assert.equal(await dropping.exit(), 0)
  assert.deepEqual(words(dropping), numbered(WORDS))
  assert.equal(dropping.lines.at(-1), '-- the end: done')
  assert.equal(dropping.lines.filter((line) => line.startsWith('-- connected')).length, 4)

  // A reader that comes when everything is over.
  const late = new Program(python, ['read.py', stream])
  assert.equal(await late.exit(), 0)
  assert.deepEqual(words(late), numbered(WORDS))
  assert.equal(late.lines.at(-1), '-- the end: done')

  // The connection breaks while the service publishes: readers keep what was said, and learn that no more will come.
  const broken = new Program(python, ['read.py', await ask(url, 'Why? '.repeat(2000), 0.05)])
  await broken.line(/^ {2}3 Why\?$/)
  relay.cut()
  assert.equal(await broken.exit(), 0)
  assert.equal(broken.lines.at(-1), '-- the end: error')
  const said = words(broken)
  assert.deepEqual(said, numbered(['You', 'asked:', ...Array(said.length - 2).fill('Why?')]))

  // The second word is hours away, so the first can only be here because it was appended as it arrived.
  const slow = await ask(url, 'Why?', HOURS)
  const waiting = new Program(python, ['read.py', slow])
  await waiting.line(/^ {2}1 You$/)

  // The service dies in mid-answer: what it said is kept.
  await app.stop('SIGKILL')
  const topic = new URL(slow).pathname.replace('/topics/', '')
  const { events } = await until('the first word of the broken answer', () => readAll(topic))
  assert.deepEqual(events.map((event) => event.data), [{ number: 1, word: 'You' }])
})

/** Has the service answer, and returns where the answer can be read, past the relay. */
async function ask(url, question, secondsPerWord) {
  const query = new URLSearchParams({ question, seconds_per_word: secondsPerWord })
  const response = await fetch(`${url}/answers?${query}`, { method: 'POST' })
  assert.equal(response.status, 202)
  const { stream } = await response.json()
  const { pathname, search } = new URL(stream)
  assert.match(pathname, /^\/topics\/answers\/[0-9a-f]{32}$/)
  return server + pathname + search
}

function words(program) {
  return program.lines.filter((line) => !line.startsWith('--'))
}

function numbered(words) {
  return words.map((word, index) => `${String(index + 1).padStart(3)} ${word}`)
}
