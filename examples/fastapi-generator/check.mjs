// The generator's words arrive once and in order over several connections, as they are yielded, and survive the service.
// An answer that breaks off says so. Behind the gateway the endpoint that streams directly is resumed as it is.

import { openBrowser, openEventSource } from '../harness/browser.mjs'
import { assert, check, folder, openRelay, Program, python, readAll, server, startServer, until } from '../harness/check.mjs'
import { commands } from '../harness/readme.mjs'

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

  await resumesBehindTheGateway(app, url)

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

/** `GET /answer`, which knows nothing of this: through the gateway it is followed by what every browser and shell has. */
async function resumesBehindTheGateway(app, url) {
  const gateway = await startServer({ gateway: { '/answer': `${url}/answer` } })
  const asked = (question) => app.lines.filter((line) => line.includes(`GET /answer?question=${question}`)).length
  const whole = WORDS.map((word, index) => ({ number: index + 1, word }))

  // An `EventSource` whose network breaks twice: it comes back to its own URL, goes on there, and stops at the end.
  const question = 'Why%3F&seconds_per_word=0.25'
  const source = await openEventSource(await openBrowser(), `${gateway.url}/answer?question=${question}`, 'word')
  for (const words of [3, 9]) {
    await source.hears(words)
    gateway.cut()
  }
  const { events, opened } = await source.stops()
  assert.deepEqual(events, whole)
  assert.ok(opened > 1, 'it was never cut')
  assert.equal(asked(question), 1)

  // The README's commands as they are written, but for the address.
  const [, curl] = commands('## Behind the gateway')
  const terminal = new Program('bash', [], { cwd: folder })
  terminal.say(curl.replaceAll('localhost:4480', new URL(gateway.url).host))
  terminal.hush()
  assert.equal(await terminal.exit(), 0)
  const said = terminal.lines.filter((line) => line.startsWith('data:')).map((line) => JSON.parse(line.slice('data:'.length)))
  assert.deepEqual(said, whole)
  assert.equal(asked('Why%3F '), 1)

  const { streams } = await (await fetch(`${gateway.url}/streams`)).json()
  assert.deepEqual(streams.map(({ state, events }) => [state, events]), Array(2).fill(['done', WORDS.length]))
}

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
