// The page ends with the simulator's results; selectors and type filters pick exactly the events they name.

import { assert, check, Program, readAll, server } from '../harness/check.mjs'
import { openBrowser, openPage, photograph, serveFolder } from '../harness/browser.mjs'

/** What seed 7 brings, however fast the minutes pass. */
const FINALS = [
  'Ashmere 1:0 Brindle Town',
  'Corvale 0:2 Dunwick',
  'Eastmoor 3:1 Fennbridge',
  'Garrow 1:1 Hollin United',
]

check(async () => {
  const url = await serveFolder('.')
  const browser = await openBrowser()
  const page = await openPage(browser, url)
  const goals = new Program('curl', [
    '-sSN', '-H', 'Accept: text/event-stream', `${server}/events?topic=scores/**&type=goal&after=first`,
  ])

  const simulation = new Program('node', ['simulate.mjs', '--minute-ms', '20', '--seed', '7'])
  assert.equal(await simulation.exit(), 0)
  const finals = simulation.lines.map((line) => line.match(/^90' final (.+)$/)?.[1]).filter(Boolean)
  assert.deepEqual(finals.sort(), FINALS)

  await allFinal(page, 4)
  assert.deepEqual((await results(page)).sort(), FINALS)
  await photograph(page)

  // One league only, opened after the fact.
  const north = await openPage(browser, url, { league: 'north' })
  await allFinal(north, 2)
  assert.deepEqual((await results(north)).sort(), FINALS.filter((line) => /Ashmere|Corvale/.test(line)))

  // Only goals, as many as there were, in the order in which they fell.
  const scored = simulation.lines.filter((line) => line.includes("' goal ")).length
  assert.ok(scored > 0)
  await goals.line(new RegExp(`^${lastGoalId(await readAll('scores/**'))}$`))
  assert.equal(goals.lines.filter((line) => line === 'event: goal').length, scored)
  assert.equal(goals.lines.filter((line) => /^event: (kickoff|card|final)$/.test(line)).length, 0)

  // Each match ended with its final whistle, and says so.
  const { events, end } = await readAll('scores/south/eastmoor-fennbridge')
  assert.equal(events[0].type, 'kickoff')
  assert.equal(events.at(-1).type, 'final')
  assert.equal(end.reason, 'done')
})

function lastGoalId({ events }) {
  return `id: ${events.filter((event) => event.type === 'goal').at(-1).id}`
}

async function allFinal(page, count) {
  await page.waitForFunction((count) => document.querySelectorAll('tr.final').length === count, count)
}

function results(page) {
  return page.$$eval('#leagues tr', (rows) =>
    rows.map(({ cells: [home, score, away] }) => `${home.textContent} ${score.textContent.replaceAll(' ', '')} ${away.textContent}`))
}
