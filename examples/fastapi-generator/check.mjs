// The generator's words arrive once and in order over several connections, as they are yielded, and survive the service.

import { assert, check, Program, python, readAll, server, until } from '../harness/check.mjs'

const WORDS = 'You asked: Why? Here is a long answer, one word at a time, as a model would give it.'.split(' ')
const HOURS = 7200

check(async () => {
  const app = new Program(python, ['-m', 'uvicorn', 'app:app', '--port', '0'])
  const [, url] = await app.line(/running on (http:\/\/127\.0\.0\.1:\d+)/)

  // As it is done today: the generator is sound.
  const direct = await (await fetch(`${url}/answer?question=Why%3F&seconds_per_word=0`)).text()
  assert.equal(direct.match(/^event: word$/gm).length, WORDS.length)

  // A reader that hangs up after every fifth event, from the first word on.
  const stream = await ask(url, 0.05)
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

  // The second word is hours away, so the first can only be here because it was appended as it arrived.
  const slow = await ask(url, HOURS)
  const waiting = new Program(python, ['read.py', slow])
  await waiting.line(/^ {2}1 You$/)

  // The service dies in mid-answer: what it said is kept.
  await app.stop('SIGKILL')
  const topic = new URL(slow).pathname.replace('/topics/', '')
  const { events } = await until('the first word of the broken answer', () => readAll(topic))
  assert.deepEqual(events.map((event) => event.data), [{ number: 1, word: 'You' }])
})

async function ask(url, secondsPerWord) {
  const response = await fetch(`${url}/answers?question=Why%3F&seconds_per_word=${secondsPerWord}`, { method: 'POST' })
  assert.equal(response.status, 202)
  const { stream } = await response.json()
  assert.ok(stream.startsWith(`${server}/topics/answers/`))
  return stream
}

function words(program) {
  return program.lines.filter((line) => !line.startsWith('--'))
}

function numbered(words) {
  return words.map((word, index) => `${String(index + 1).padStart(3)} ${word}`)
}
