// Two pages and two terminals hear everything once, in one order; the late ones get the history.

import { assert, check, Program, publish, readAll, startServer } from '../harness/check.mjs'
import { openBrowser, openPage, photograph, serveFolder } from '../harness/browser.mjs'

const HISTORY = 50

check(async () => {
  const server = await startServer()
  // More has been said than a newcomer is shown.
  const old = Array.from({ length: HISTORY + 10 }, (_, index) => `old message ${index}`)
  for (const text of old) await publish('chat/lobby', { name: 'Edsger', text }, server.url)
  const history = old.slice(-HISTORY).map((text) => `Edsger: ${text}`)

  const url = await serveFolder('.')
  const browser = await openBrowser()
  const ada = await openPage(browser, url, { room: 'lobby', name: 'Ada', server: server.url })
  const grace = new Program('node', ['chat.mjs', 'lobby', 'Grace'], { env: { LONGWAVE_SERVER: server.url } })
  await grace.line(/old message 59/)
  await heard(ada, HISTORY)
  assert.deepEqual(grace.lines, history)
  assert.deepEqual(await messages(ada), history)

  // A conversation: each answers what they heard.
  for (let turn = 1; turn <= 10; turn += 1) {
    await say(ada, `ping ${turn}`)
    await grace.line(new RegExp(`^Ada: ping ${turn}$`))
    grace.say(`pong ${turn}`)
    await heard(ada, HISTORY + 2 * turn)
  }
  const talk = Array.from({ length: 10 }, (_, index) => [`Ada: ping ${index + 1}`, `Grace: pong ${index + 1}`]).flat()
  assert.deepEqual(grace.lines, [...history, ...talk])
  assert.deepEqual(await messages(ada), [...history, ...talk])
  await ada.waitForFunction(() => document.querySelector('#state').textContent === 'connected')
  await photograph(ada)

  // Everybody at once, some of it awkward: all agree on one order, and nothing is missing.
  const bob = await openPage(browser, url, { room: 'lobby', name: 'Bob', server: server.url })
  await heard(bob, HISTORY)
  const said = []
  for (let turn = 1; turn <= 10; turn += 1) {
    said.push(`Ada: <b>&"${turn}`, `Bob: häl\\lo ${turn} 🎉`, `Grace: {"op":"end"} ${turn}`)
    grace.say(`{"op":"end"} ${turn}`)
    await Promise.all([say(ada, `<b>&"${turn}`), say(bob, `häl\\lo ${turn} 🎉`)])
  }
  await heard(ada, HISTORY + talk.length + said.length)
  await heard(bob, HISTORY + said.length)
  const order = (await readAll('chat/lobby', server.url)).events.map(({ data }) => `${data.name}: ${data.text}`).slice(-said.length)
  assert.deepEqual([...order].sort(), [...said].sort())
  assert.deepEqual((await messages(ada)).slice(-said.length), order)
  assert.deepEqual((await messages(bob)).slice(-said.length), order)

  // The network breaks and the server is killed while both talk: what they said arrives all the same, and only once.
  const before = (await messages(ada)).length
  const spoken = []
  for (let turn = 1; turn <= 6; turn += 1) {
    spoken.push(`Ada: through ${turn}`, `Grace: storm ${turn}`)
    await say(ada, `through ${turn}`)
    grace.say(`storm ${turn}`)
    if (turn % 2 === 1) {
      server.cut()
    } else {
      await server.stop('SIGKILL')
      await server.start()
    }
    await heard(ada, before + 2 * turn)
    await grace.line(new RegExp(`^Ada: through ${turn}$`))
    await grace.line(new RegExp(`^Grace: storm ${turn}$`))
  }
  await ada.waitForFunction(() => document.querySelector('#state').textContent === 'connected')
  const last = (await readAll('chat/lobby', server.url)).events.map(({ data }) => `${data.name}: ${data.text}`).slice(-spoken.length)
  assert.deepEqual([...last].sort(), [...spoken].sort())
  assert.deepEqual((await messages(ada)).slice(-spoken.length), last)
  assert.deepEqual(heardBy(grace).slice(-spoken.length), last)

  // A script that says something and leaves: it leaves only when the server has it.
  const script = new Program('node', ['chat.mjs', 'lobby', 'Script'], { env: { LONGWAVE_SERVER: server.url } })
  script.say('one')
  script.say('two')
  script.hush()
  assert.equal(await script.exit(), 0)
  await grace.line(/^Script: two$/)
  await publish('chat/lobby', 'plain text', server.url)
  await grace.line(/^someone: plain text$/)
  assert.deepEqual(heardBy(grace).slice(-4), [last.at(-1), 'Script: one', 'Script: two', 'someone: plain text'])
})

async function say(page, text) {
  await page.fill('input', text)
  await page.press('input', 'Enter')
}

function heard(page, count) {
  return page.waitForFunction((count) => document.querySelectorAll('#messages li').length >= count, count)
}

/** What a terminal showed, without its remarks on the connection. */
function heardBy(program) {
  return program.lines.filter((line) => !line.startsWith('-- '))
}

function messages(page) {
  return page.$$eval('#messages li', (lines) =>
    lines.map((line) => `${line.firstChild.textContent}: ${line.lastChild.textContent}`))
}
