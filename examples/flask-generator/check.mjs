// The page shows every row once and in order, as it is made, also when it is reloaded half-way or opened late. A report
// that breaks off says so.

import { assert, check, openRelay, Program, python, readAll } from '../harness/check.mjs'
import { openBrowser, openPage, photograph } from '../harness/browser.mjs'

const ROWS = 12
const HOURS = 7200

check(async () => {
  // The service reaches the server through a connection that can be cut.
  const relay = await openRelay()
  const app = new Program(python, ['-m', 'flask', 'run', '--port', '0'], { env: { LONGWAVE_SERVER: relay.url } })
  const [, url] = await app.line(/Running on (http:\/\/127\.0\.0\.1:\d+)/)

  // As it is done today: the generator is sound.
  const direct = await (await fetch(`${url}/report?rows=3&seconds_per_row=0`)).text()
  assert.equal(direct.match(/^event: row$/gm).length, 3)

  // A report, with the page reloaded half-way.
  const browser = await openBrowser()
  const page = await openPage(browser, url, { rows: ROWS, seconds_per_row: 0.3 })
  await page.click('#start')
  await page.waitForSelector('#rows tr:nth-child(4)')
  await page.reload()
  await isComplete(page)
  await photograph(page)

  // The same address in a second tab, after the end.
  const late = await openPage(browser, url)
  await late.goto(page.url())
  await late.reload()
  await isComplete(late)

  const topic = new URL(page.url().split('#')[1]).pathname.replace('/topics/', '')
  const { events, end } = await readAll(topic)
  assert.deepEqual(events.map((event) => event.data.row), range(ROWS))
  assert.equal(end.reason, 'done')

  // The second row is hours away, so the first can only be here because it was appended as it arrived.
  const slow = await openPage(browser, url, { rows: ROWS, seconds_per_row: HOURS })
  await slow.click('#start')
  await slow.waitForSelector('#rows tr')
  assert.equal(await slow.textContent('#state'), 'being made')

  // The connection breaks while the service publishes, and the page's with it: the page comes back and is told.
  const broken = await openPage(browser, url, { rows: 2000, seconds_per_row: 0.05 })
  await broken.click('#start')
  await broken.waitForSelector('#rows tr:nth-child(3)')
  relay.cut()
  await broken.waitForFunction(() => document.querySelector('#state').textContent === 'broken off')
  const made = await rows(broken)
  assert.deepEqual(made, range(made.length))
})

async function isComplete(page) {
  await page.waitForFunction(() => document.querySelector('#state').textContent === 'complete')
  assert.deepEqual(await rows(page), range(ROWS))
}

function rows(page) {
  return page.$$eval('#rows tr', (rows) => rows.map((row) => Number(row.cells[0].textContent)))
}

function range(length) {
  return Array.from({ length }, (_, index) => index + 1)
}
