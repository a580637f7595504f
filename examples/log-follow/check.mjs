// Every line of a growing, then rotated, file arrives once and in order: by both publishers, in three readers. Each error
// among them becomes one alert. Restarts and kills of the server change nothing.

import { appendFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { assert, check, folder, Program, readAll, server, startServer, until } from '../harness/check.mjs'
import { openBrowser, openPage, photograph, serveFolder } from '../harness/browser.mjs'

const FIRST = range(1, 200)
const SECOND = range(201, 400)
const ROTATED = range(401, 500)
const KILLS = 5

check(async () => {
  const pages = { url: await serveFolder('.'), browser: await openBrowser() }
  await follows('./follow.sh', 'by-command', pages)
  await follows('./follow-curl.sh', 'by-curl', pages)
  await alerts('by-command')
  await throughRestarts(pages)
})

/** The server is stopped and killed while the file grows: the publisher and the readers come back, and miss nothing. */
async function throughRestarts({ url, browser }) {
  const second = await startServer()
  const env = { LONGWAVE_SERVER: second.url }
  const log = join(folder, 'restarts.log')
  write(log, range(1, 100))
  new Program('./follow.sh', [log, 'app'], { env })
  const tail = new Program('longwave', ['tail', 'app', '--after', 'first'], { env })
  const page = await openPage(browser, url, { topic: 'app', server: second.url })
  let last = 100
  for (const signal of ['SIGTERM', 'SIGKILL', 'SIGTERM', 'SIGKILL']) {
    await tail.line(new RegExp(`^[A-Z]+ request ${last} `))
    write(log, range(last + 1, last + 50))
    await second.stop(signal)
    write(log, range(last + 51, last + 100))
    await second.start()
    last += 100
  }
  const all = range(1, last)
  await tail.line(new RegExp(`^${all.at(-1)}$`))
  await page.waitForFunction((last) => document.querySelector('#lines').lastChild?.textContent === last, all.at(-1))
  assert.deepEqual((await readAll('app', second.url)).events.map((event) => event.data), all)
  assert.deepEqual(tail.lines.filter((line) => / request /.test(line)), all)
  assert.deepEqual(await page.$$eval('#lines li', (lines) => lines.map((line) => line.textContent)), all)
}

/** Each error becomes one alert, though the program that makes them is killed over and over. */
async function alerts(topic) {
  const errors = [...FIRST, ...SECOND, ...ROTATED].filter((line) => line.includes('ERROR'))
  const run = () => new Program('longwave-example-alerts', [topic, 'alerts', join(folder, 'alerts.cursor')])
  const alerted = async () => (await readAll('alerts')).events.length
  for (let kill = 0; kill < KILLS; kill += 1) {
    const before = await alerted()
    const killed = run()
    await until('more alerts', async () => (await alerted()) > before || before === errors.length)
    await killed.stop('SIGKILL')
  }
  const last = run()
  await arrived('alerts', errors.length)
  write(join(folder, `${topic}.log`), ['ERROR the last one'])
  await last.line(/^ERROR the last one$/)
  const { events } = await readAll('alerts')
  assert.deepEqual(events.map(({ type, data }) => `${type}: ${data}`), [...errors, 'ERROR the last one'].map((line) => `alert: ${line}`))
}

async function follows(script, topic, { url, browser }) {
  const log = join(folder, `${topic}.log`)
  write(log, FIRST)
  new Program(script, [log, topic])
  await arrived(topic, FIRST.length)

  // Readers that join in the middle.
  const tail = new Program('longwave', ['tail', topic, '--after', 'first', '--json'])
  const curl = new Program('curl', ['-sSN', '-H', 'Accept: text/event-stream', `${server}/topics/${topic}?after=first`])
  const page = await openPage(browser, url, { topic })
  await tail.line(new RegExp(`"${FIRST.at(-1)}"`))
  await curl.line(new RegExp(`^data: ${FIRST.at(-1)}$`))

  write(log, SECOND)
  await arrived(topic, FIRST.length + SECOND.length)
  renameSync(log, `${log}.1`)
  write(log, ROTATED)

  const all = [...FIRST, ...SECOND, ...ROTATED]
  await tail.line(new RegExp(`"${all.at(-1)}"`))
  await curl.line(new RegExp(`^data: ${all.at(-1)}$`))
  await page.waitForFunction((last) => document.querySelector('#lines').lastChild?.textContent === last, all.at(-1))

  assert.deepEqual((await readAll(topic)).events.map((event) => event.data), all)
  assert.deepEqual(tail.lines.map((line) => JSON.parse(line).data), all)
  assert.deepEqual(curl.lines.filter((line) => line.startsWith('data: ')).map((line) => line.slice(6)), all)
  assert.deepEqual(await page.$$eval('#lines li', (lines) => lines.map((line) => line.textContent)), all)
  await photograph(page, topic)
  await page.fill('#filter', 'ERROR')
  const errors = await page.$$eval('#lines li', (lines) => lines.filter((line) => !line.hidden).length)
  assert.equal(errors, all.filter((line) => line.includes('ERROR')).length)
}

function arrived(topic, count) {
  return until(`${count} lines in ${topic}`, async () => (await readAll(topic)).events.length === count)
}

/** Appends in pieces that don't end where a line does, as a buffered logger writes. */
function write(log, lines) {
  const text = lines.map((line) => `${line}\n`).join('')
  writeFileSync(log, '', { flag: 'a' })
  for (let at = 0; at < text.length; at += 1000) appendFileSync(log, text.slice(at, at + 1000))
}

function range(first, last) {
  const levels = ['INFO', 'INFO', 'WARN', 'INFO', 'ERROR']
  return Array.from({ length: last - first + 1 }, (_, index) => {
    const number = first + index
    return `${levels[number % levels.length]} request ${number} took ${(number * 37) % 900} ms`
  })
}
