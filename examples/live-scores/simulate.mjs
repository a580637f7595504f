// A SIMULATION: invented teams play invented matches. Publishes what a scores service would.
//
//     node simulate.mjs [--minute-ms 500] [--seed 1]
//
// Each match is a topic, `scores/<league>/<match>`, with events of the types kickoff, goal, card and final, and ends
// with its final whistle. Every event carries the score, so a reader that joins late needs no other to be right.

import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

const LONGWAVE = process.env.LONGWAVE_SERVER ?? 'http://127.0.0.1:4480'
const MATCHES = [
  ['north', 'Ashmere', 'Brindle Town'],
  ['north', 'Corvale', 'Dunwick'],
  ['south', 'Eastmoor', 'Fennbridge'],
  ['south', 'Garrow', 'Hollin United'],
]
const MINUTES = 90
const GOALS_PER_MINUTE = 0.03
const CARDS_PER_MINUTE = 0.04

const { values: options } = parseArgs({
  options: { 'minute-ms': { type: 'string', default: '500' }, seed: { type: 'string', default: '1' } },
})

await Promise.all(MATCHES.map(play))

async function play([league, home, away], index) {
  const random = seeded(Number(options.seed) * MATCHES.length + index)
  const topic = `scores/${league}/${slug(home)}-${slug(away)}`
  const score = [0, 0]
  const tell = (type, minute, more, query = '') => publish(topic + query, type, { league, home, away, minute, score, ...more })

  await tell('kickoff', 0)
  for (let minute = 1; minute <= MINUTES; minute += 1) {
    await sleep(Number(options['minute-ms']))
    const chance = random()
    const side = random() < 0.5 ? 0 : 1
    const team = [home, away][side]
    if (chance < GOALS_PER_MINUTE) {
      score[side] += 1
      await tell('goal', minute, { team })
    } else if (chance < GOALS_PER_MINUTE + CARDS_PER_MINUTE) {
      await tell('card', minute, { team, colour: random() < 0.9 ? 'yellow' : 'red' })
    }
  }
  await tell('final', MINUTES, {}, '?end=done')
}

async function publish(target, type, event) {
  const response = await fetch(`${LONGWAVE}/topics/${target}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Event-Type': type },
    body: JSON.stringify(event),
  })
  if (!response.ok) throw new Error(`${target}: ${response.status} ${await response.text()}`)
  await response.arrayBuffer()
  console.log(`${String(event.minute).padStart(2)}' ${type} ${event.home} ${event.score.join(':')} ${event.away}`)
}

function slug(team) {
  return team.toLowerCase().replaceAll(' ', '-')
}

/** The generator `mulberry32`: the same seed gives the same afternoon. */
function seeded(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
