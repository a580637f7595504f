// The script's four readers, and the page's four columns, each receive everything once and in order.

import { assert, check, Program, readAll } from '../harness/check.mjs'
import { openBrowser, openPage, photograph, serveFolder } from '../harness/browser.mjs'

const COLUMNS = ['Short poll', 'Long poll', 'Server-Sent Events', 'WebSocket']
const EVENTS = 20

check(async () => {
  const script = new Program('node', ['compare.mjs', '--events', String(EVENTS), '--every', '20'])
  assert.equal(await script.exit(), 0, script.lines.join('\n'))
  assert.equal(script.lines.at(-1), `each received all ${EVENTS} events, once and in order`)

  const cost = Object.fromEntries(script.lines.map(row).filter(Boolean))
  assert.deepEqual(Object.keys(cost), ['short poll', 'long poll', 'SSE', 'WebSocket'])
  for (const [name, { events, received }] of Object.entries(cost)) {
    assert.equal(events, EVENTS, name)
    assert.ok(received > 0, name)
  }
  assert.equal(cost.SSE.requests, 1)
  assert.equal(cost.WebSocket.requests, 1)

  const page = await openPage(await openBrowser(), await serveFolder('.'))
  await until(page, 'requests', 1)
  await page.fill('input', 'häl<b>lo')
  await page.press('input', 'Enter')
  await until(page, 'events', 1)
  await page.click('#ten')
  await until(page, 'events', 11)
  const expected = ['häl<b>lo', ...Array.from({ length: 10 }, (_, index) => `number ${index + 1}`)]
  for (const name of COLUMNS) {
    const shown = await page.$$eval(`[id="${name}"] li`, (lines) => lines.map((line) => line.textContent).reverse())
    assert.deepEqual(shown, expected, name)
  }
  await photograph(page)
  assert.deepEqual((await readAll('compare/page')).events.map((event) => event.data.text), expected)
})

/** A line of `console.table`: its name, and its figures. */
function row(line) {
  const match = line.match(/│ '?([a-zA-Z ]+?)'? +│ +(\d+) +│ +(\d+) +│ +(\d+) +│ +(\d+) +│ +(\d+) +│/)
  if (!match) return undefined
  const [events, requests, received, sent] = match.slice(2).map(Number)
  return [match[1].trim(), { events, requests, received, sent }]
}

function until(page, figure, count) {
  return page.waitForFunction(
    ([figure, count]) =>
      [...document.querySelectorAll(`[data-figure=${figure}]`)].filter((cell) => Number(cell.textContent) >= count).length === 4,
    [figure, count],
  )
}
