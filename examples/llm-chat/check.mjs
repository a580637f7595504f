// An answer outlives whatever happens to the page that asked for it: no network, a broken connection, a reload. In the end
// the page shows what the simulator says that it sent, and the simulator was asked once.

import { assert, check, Program, startServer, until } from '../harness/check.mjs'
import { goOffline, openBrowser, openPage, photograph, serveFolder } from '../harness/browser.mjs'

const OFFLINE = 'offline, reconnecting'
// What a browser writes to its console when a connection fails, which is what is being tried.
const CONNECTION_FAILED = /^Failed to load resource: net::ERR_/

const FAILED = 'The server had an error while processing your request. Sorry about that!'
const BROKE_OFF = 'upstream ended the stream before it was complete'
const FAULTS = [['error-at=9', FAILED], ['status=500', FAILED], ['cut=9', BROKE_OFF], ['end-early=9', BROKE_OFF]]

let server
let simulator
let url

check(async () => {
  const upstream = new Program('node', ['../llm-upstream/simulator.mjs', '--port', '0', '--words', '100', '--delay', '30ms'])
  simulator = (await upstream.line(/^simulating .* on (http:\/\/\S+)$/))[1]
  server = await startServer({ gateway: { '/v1': `${simulator}/v1` } })
  url = await serveFolder('.')
  const browser = await openBrowser()
  const errors = []
  browser.on('console', (message) => {
    if (message.type() === 'error' && !CONNECTION_FAILED.test(message.text())) errors.push(message.text())
  })

  const page = await openPage(browser, url, { server: server.url })
  await comesBackFromOffline(browser, page)
  await comesBackWhenTheAnswerIsOver(browser, page)
  await asksOnceItIsOnline(browser, page)
  await goesOnOverBrokenConnections(page)
  await goesOnAfterAReload(page)
  await isWatchedByASecond(browser, page)
  await isStoppedForAll(browser, page)
  await saysWhatWentWrong(page)
  await saysThatTheServerCrashed(page)
  // The one request that the simulator was to refuse.
  assert.deepEqual(errors, ['Failed to load resource: the server responded with a status of 500 (Internal Server Error)'])
})

async function comesBackFromOffline(browser, page) {
  await ask(page, 'Offline for a moment')
  await grows(page, 40)
  await photograph(page, 'streaming')
  await goOffline(browser, server)
  await shows(page, OFFLINE)
  await photograph(page, 'offline')
  await browser.setOffline(false)
  await isWhole(page, 'Offline for a moment')
  await photograph(page, 'done')
}

async function comesBackWhenTheAnswerIsOver(browser, page) {
  await ask(page, 'Offline until the end')
  await grows(page, 40)
  await goOffline(browser, server)
  await shows(page, OFFLINE)
  await told('Offline until the end', 'whole')
  await browser.setOffline(false)
  await isWhole(page, 'Offline until the end')
}

async function asksOnceItIsOnline(browser, page) {
  await browser.setOffline(true)
  await ask(page, 'Asked while offline')
  await shows(page, OFFLINE)
  await browser.setOffline(false)
  await isWhole(page, 'Asked while offline')
}

async function goesOnOverBrokenConnections(page) {
  await ask(page, 'Broken three times')
  for (const characters of [1, 60, 120]) {
    await grows(page, characters)
    server.cut()
    await shows(page, OFFLINE)
  }
  await isWhole(page, 'Broken three times')
}

async function goesOnAfterAReload(page) {
  const before = await page.$$eval('.answer', (answers) => answers.map(({ textContent }) => textContent))
  await ask(page, 'Reloaded half-way')
  await grows(page, 40)
  await page.reload()
  await isWhole(page, 'Reloaded half-way')
  // The answers before it are read again, too, from where they are kept.
  await page.waitForFunction(() => [...document.querySelectorAll('.state')].every(({ textContent }) => textContent === 'done'))
  const all = await page.$$eval('.answer', (answers) => answers.map(({ textContent }) => textContent))
  assert.deepEqual(all.slice(0, -1), before)
}

async function isWatchedByASecond(browser, page) {
  await ask(page, 'Watched by two')
  await grows(page, 40)
  const [second] = await Promise.all([browser.waitForEvent('page'), page.click('article:last-of-type a')])
  await shows(second, 'streaming')
  await grows(second, 40)
  await isWhole(page, 'Watched by two')
  await isWhole(second, 'Watched by two')
  await photograph(second, 'watching')
  await second.close()
}

async function isStoppedForAll(browser, page) {
  await ask(page, 'Stopped half-way [simulate: words=5000]')
  await grows(page, 40)
  const [second] = await Promise.all([browser.waitForEvent('page'), page.click('article:last-of-type a')])
  await grows(second, 40)
  await second.click('article:last-of-type button')
  await shows(page, 'cancelled')
  await shows(second, 'cancelled')
  const text = await answer(page)
  assert.equal(await answer(second), text)
  const record = await told('Stopped half-way', 'client-left')
  assert.ok(record.planned_text.startsWith(text) && text.length < record.planned_text.length)
  await photograph(page, 'cancelled')
  await second.close()
}

async function saysWhatWentWrong(page) {
  for (const [fault, said] of FAULTS) {
    await ask(page, `Goes wrong by ${fault} [simulate: ${fault}]`)
    await shows(page, `error: ${said}`)
    const record = await recorded(`Goes wrong by ${fault}`)
    assert.equal(await answer(page), record.text)
  }
  await photograph(page, 'error')
}

async function saysThatTheServerCrashed(page) {
  await ask(page, 'The server is killed')
  await grows(page, 40)
  await server.stop('SIGKILL')
  await shows(page, OFFLINE)
  await server.start()
  await page.waitForFunction(() => [...document.querySelectorAll('.state')].at(-1).classList.contains('error'))
  const record = await told('The server is killed', 'client-left')
  const text = await answer(page)
  assert.ok(text.length >= 40 && record.planned_text.startsWith(text))
  // What was there before is there again.
  await page.reload()
  await page.waitForFunction(() => [...document.querySelectorAll('.state')].at(-1).classList.contains('error'))
  assert.equal(await answer(page), text)
}

async function ask(page, prompt) {
  const before = await page.locator('article').count()
  await page.fill('input', prompt)
  await page.press('input', 'Enter')
  await page.waitForFunction((before) => document.querySelectorAll('article').length > before, before)
}

/** Waits until the last answer has so many characters. */
function grows(page, characters) {
  return page.waitForFunction((characters) => [...document.querySelectorAll('.answer')].at(-1).textContent.length >= characters, characters)
}

function shows(page, state) {
  return page.waitForFunction((state) => [...document.querySelectorAll('.state')].at(-1).textContent === state, state)
}

function answer(page) {
  return page.textContent('article:last-of-type .answer')
}

/** Waits for the end, and compares what the page shows with what the simulator says that it sent. */
async function isWhole(page, prompt) {
  await shows(page, 'done')
  const record = await told(prompt, 'whole')
  assert.equal(await answer(page), record.text)
  assert.equal(record.text, record.planned_text)
}

/** What the simulator tells of the only call with a prompt, once it is in a state. */
function told(prompt, state) {
  return until(`"${prompt}" to be ${state}`, async () => {
    const record = await recorded(prompt)
    return record?.state === state && record
  })
}

async function recorded(prompt) {
  const { answers } = await (await fetch(`${simulator}/simulator/answers?${new URLSearchParams({ contains: prompt })}`)).json()
  assert.ok(answers.length <= 1, `"${prompt}" was asked ${answers.length} times`)
  return answers[0]
}
