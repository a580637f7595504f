// The page shows every row once and in order, as it is made, also when it is reloaded half-way or opened late. A report
// that breaks off says so. Behind the gateway the endpoint that streams directly is resumed as it is.

import { assert, check, folder, openRelay, Program, python, readAll, startServer } from '../harness/check.mjs'
import { goOffline, openBrowser, openEventSource, openPage, photograph } from '../harness/browser.mjs'
import { commands } from '../harness/readme.mjs'

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

  await resumesBehindTheGateway(app, url)
})

/** `GET /report`, which knows nothing of this: through the gateway it is followed by what every browser and shell has. */
async function resumesBehindTheGateway(app, url) {
  const gateway = await startServer({ gateway: { '/report': `${url}/report` } })
  const asked = (query) => app.lines.filter((line) => line.includes(`GET /report?${query} HTTP`)).length

  // An `EventSource` in a browser that goes offline half-way. Meanwhile the report goes on.
  const query = `rows=${ROWS}&seconds_per_row=0.5`
  const browser = await openBrowser()
  const source = await openEventSource(browser, `${gateway.url}/report?${query}`, 'row')
  await source.hears(3)
  await goOffline(browser, gateway)
  await browser.setOffline(false)
  const { events, opened } = await source.stops()
  assert.deepEqual(events.map(({ row }) => row), range(ROWS))
  assert.equal(opened, 2)
  assert.equal(asked(query), 1)

  // The README's commands as they are written, but for the address.
  const [, curl] = commands('## Behind the gateway')
  const terminal = new Program('bash', [], { cwd: folder })
  terminal.say(curl.replaceAll('localhost:4480', new URL(gateway.url).host))
  terminal.hush()
  assert.equal(await terminal.exit(), 0)
  const said = terminal.lines.filter((line) => line.startsWith('data:')).map((line) => JSON.parse(line.slice('data:'.length)))
  assert.deepEqual(said.map(({ row }) => row), range(ROWS))
  assert.equal(asked(`rows=${ROWS}`), 1)
}

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
