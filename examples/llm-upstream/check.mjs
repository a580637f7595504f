// The simulator by itself: each dialect's shape from its first event to its last, each way to behave, and that it tells the
// truth about what it sent. Then behind Longwave's gateway, which is in `check-gateway.mjs`.

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { assert, check, Program, until } from '../harness/check.mjs'
import { checkGateway, checkReadme } from './check-gateway.mjs'
import { OPTIONS } from './behaviour.mjs'
import { ANTHROPIC_HEADERS, Client, DIALECTS, readBlocks } from './client.mjs'

const TOOL_SCHEMA = {
  type: 'object',
  properties: { place: { type: 'string' }, days: { type: 'integer' }, unit: { enum: ['C', 'F'] } },
}

/** The simulator. */
let client

check(async () => {
  client = await start()
  await tellsWhatItIs()
  await openaiChatHasItsShape()
  await openaiResponsesHasItsShape()
  await anthropicHasItsShape()
  await vercelUiHasItsShape()
  await ollamaHasItsShape()
  await plainSseHasItsShape()
  for (const name of Object.keys(DIALECTS)) {
    await answersAreAFunctionOfThePrompt(name)
    await everyFaultHappensWhereItWasAskedFor(name)
    await everyPaceAndSpellingCarriesTheSameEvents(name)
  }
  await pacesAreSeenOnTheWire()
  await responsesCanBeComeBackTo()
  await responsesCanBeCancelled()
  await backgroundIsRefusedWhereItIsLacking()
  await aClientThatLeavesIsNoticed()
  await faultsEndWhenTheyAreCounted()
  await badRequestsAreRefusedInTheDialectsWords()
  await checkGateway(client.base)
  await checkReadme()
})

async function start(...flags) {
  const program = new Program('node', ['simulator.mjs', '--port', '0', '--delay', '0', ...flags])
  const [, url] = await program.line(/^simulating LLM providers on (http:\/\/127\.0\.0\.1:\d+)$/)
  return new Client(url)
}

async function tellsWhatItIs() {
  const models = await client.get('/v1/models')
  assert.equal(models.headers.get('x-simulated'), 'true')
  assert.equal(JSON.parse(models.text).object, 'list')
  const readme = await readFile('README.md', 'utf8')
  for (const option of Object.keys(OPTIONS)) assert.ok(readme.includes(`\`${option}`), `README.md does not tell of ${option}`)
}

async function openaiChatHasItsShape() {
  const { body, path } = DIALECTS['openai-chat']
  const { events, headers } = await client.post(path, { ...body('[say: one two]'), stream_options: { include_usage: true } })
  assert.match(headers.get('content-type'), /^text\/event-stream/)
  assert.equal(events.at(-1).data, '[DONE]')
  const chunks = events.slice(0, -1).map(({ data }) => data)
  assert.deepEqual(chunks.map(({ choices }) => choices[0]?.delta), [
    { role: 'assistant', content: '', refusal: null }, { content: 'one' }, { content: ' two' }, {}, undefined,
  ])
  assert.deepEqual(chunks.map(({ choices }) => choices[0]?.finish_reason), [null, null, null, 'stop', undefined])
  assert.equal(chunks.at(-1).usage.completion_tokens, 2)
  assert.ok(chunks.every(({ object, id }) => object === 'chat.completion.chunk' && id === chunks[0].id))

  const tools = [{ type: 'function', function: { name: 'weather', parameters: TOOL_SCHEMA } }]
  const withTool = { ...body('The weather? [simulate: tool=weather]'), tools }
  const called = (await client.post(path, withTool)).events.slice(0, -1).map(({ data }) => data.choices[0])
  const calls = called.flatMap(({ delta }) => delta.tool_calls ?? [])
  assert.equal(calls[0].function.name, 'weather')
  checkInput(JSON.parse(calls.map(({ function: { arguments: piece } }) => piece).join('')))
  assert.equal(called.at(-1).finish_reason, 'tool_calls')

  const { message } = (await client.json(path, { ...withTool, stream: false })).choices[0]
  checkInput(JSON.parse(message.tool_calls[0].function.arguments))
  // With the tool's result in hand, it answers.
  const result = { role: 'tool', tool_call_id: message.tool_calls[0].id, content: '11' }
  const followed = { ...withTool, stream: false, messages: [...withTool.messages, message, result] }
  assert.ok((await client.json(path, followed)).choices[0].message.content)
  const limited = await client.json(path, { ...body('[say: one two three]'), stream: false, max_completion_tokens: 2 })
  assert.equal(limited.choices[0].message.content, 'one two')
  assert.equal(limited.choices[0].finish_reason, 'length')
}

async function openaiResponsesHasItsShape() {
  const { body, path } = DIALECTS['openai-responses']
  const { events } = await client.post(path, body('[say: one two]'))
  assert.deepEqual(events.map(({ event }) => event), [
    'response.created', 'response.in_progress', 'response.output_item.added', 'response.content_part.added',
    'response.output_text.delta', 'response.output_text.delta', 'response.output_text.done', 'response.content_part.done',
    'response.output_item.done', 'response.completed',
  ])
  events.forEach(({ event, data }, index) => {
    assert.equal(data.type, event)
    assert.equal(data.sequence_number, index)
  })
  const { response } = events.at(-1).data
  assert.equal(response.output[0].content[0].text, 'one two')
  assert.equal(response.usage.output_tokens, 2)
  assert.equal((await client.json(path, { ...body('[say: one two]'), stream: false })).output[0].content[0].text, 'one two')

  const tools = [{ type: 'function', name: 'weather', parameters: TOOL_SCHEMA }]
  const called = (await client.post(path, { ...body('The weather?'), tools, tool_choice: 'required' })).events
  const pieces = called.filter(({ event }) => event === 'response.function_call_arguments.delta').map(({ data }) => data.delta)
  checkInput(JSON.parse(pieces.join('')))
  assert.equal(called.at(-1).data.response.output[0].type, 'function_call')

  const limited = (await client.post(path, { ...body('[say: one two three]'), max_output_tokens: 2 })).events.at(-1)
  assert.equal(limited.event, 'response.incomplete')
  assert.deepEqual(limited.data.response.incomplete_details, { reason: 'max_output_tokens' })
  assert.equal((await client.post(path, body('[say: one] [simulate: done]'))).events.at(-1).data, '[DONE]')
}

async function anthropicHasItsShape() {
  const { body, path } = DIALECTS.anthropic
  const { events } = await client.post(path, body('[say: one two]'), ANTHROPIC_HEADERS)
  assert.deepEqual(events.map(({ event }) => event), [
    'message_start', 'content_block_start', 'ping', 'content_block_delta', 'content_block_delta', 'content_block_stop',
    'message_delta', 'message_stop',
  ])
  assert.ok(events.every(({ event, data }) => data.type === event))
  assert.equal(events.at(-2).data.delta.stop_reason, 'end_turn')
  assert.equal(events.at(-2).data.usage.output_tokens, 2)

  const tools = [{ name: 'weather', input_schema: TOOL_SCHEMA }]
  const withTool = { ...body('The weather?'), tools, tool_choice: { type: 'tool', name: 'weather' } }
  const called = (await client.post(path, withTool, ANTHROPIC_HEADERS)).events
  assert.equal(called[1].data.content_block.type, 'tool_use')
  checkInput(JSON.parse(called.map(({ data }) => data.delta?.partial_json ?? '').join('')))
  assert.equal(called.at(-2).data.delta.stop_reason, 'tool_use')
  const whole = await client.json(path, { ...withTool, stream: false }, ANTHROPIC_HEADERS)
  checkInput(whole.content[0].input)
  const result = { role: 'user', content: [{ type: 'tool_result', tool_use_id: whole.content[0].id, content: '11' }] }
  const messages = [...withTool.messages, { role: 'assistant', content: whole.content }, result]
  const followed = { ...withTool, stream: false, messages }
  assert.equal((await client.json(path, followed, ANTHROPIC_HEADERS)).content[0].type, 'text')
  const limited = await client.json(path, { ...body('[say: one two]'), max_tokens: 1, stream: false }, ANTHROPIC_HEADERS)
  assert.equal(limited.stop_reason, 'max_tokens')
  assert.equal((await client.json(`${path}/count_tokens`, body('one two'), ANTHROPIC_HEADERS)).input_tokens, 2)
}

async function vercelUiHasItsShape() {
  const { body, path } = DIALECTS['vercel-ui']
  const { events, headers } = await client.post(path, body('[say: one two]'))
  assert.equal(headers.get('x-vercel-ai-ui-message-stream'), 'v1')
  assert.deepEqual(events.map(({ data }) => data.type ?? data), [
    'start', 'start-step', 'text-start', 'text-delta', 'text-delta', 'text-end', 'finish-step', 'finish', '[DONE]',
  ])
  const called = (await client.post(path, body('[say: one] [simulate: tool]'))).events.map(({ data }) => data)
  assert.ok(called.find(({ type }) => type === 'tool-input-available').input.place)
  assert.ok(called.some(({ type }) => type === 'tool-output-available'))
}

async function ollamaHasItsShape() {
  const { body, path } = DIALECTS['ollama-generate']
  const { events, headers } = await client.post(path, body('[say: one two]'))
  assert.equal(headers.get('content-type'), 'application/x-ndjson')
  assert.deepEqual(events.map(({ data }) => [data.response, data.done]), [['one', false], [' two', false], ['', true]])
  assert.equal(events.at(-1).data.done_reason, 'stop')
  assert.equal((await client.json(path, { ...body('[say: one two]'), stream: false })).response, 'one two')

  const chat = DIALECTS['ollama-chat']
  const said = (await client.post(chat.path, chat.body('[say: one]'))).events
  assert.deepEqual(said.map(({ data }) => data.message.content), ['one', ''])
  const tools = [{ type: 'function', function: { name: 'weather', parameters: TOOL_SCHEMA } }]
  const called = (await client.post(chat.path, { ...chat.body('The weather? [simulate: tool]'), tools })).events
  checkInput(called[0].data.message.tool_calls[0].function.arguments)
  const limited = { ...chat.body('[say: one two]'), stream: false, options: { num_predict: 1 } }
  assert.equal((await client.json(chat.path, limited)).done_reason, 'length')
}

async function plainSseHasItsShape() {
  const { events } = await client.get('/sse/count?to=11')
  assert.deepEqual(events.map(({ data }) => data.n), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
  assert.deepEqual(events.slice(8).map(({ event }) => event), ['number', 'ten', 'number'])
  assert.ok((await client.get('/sse/count?to=11&simulate=cut=3')).broken)
}

async function answersAreAFunctionOfThePrompt(name) {
  const long = await client.ask(name, 'About stones [simulate: words=30 unicode]')
  const again = await client.ask(name, 'About stones [simulate: words=30 unicode pace=once]')
  const short = await client.ask(name, 'About stones [simulate: words=12 unicode]')
  const other = await client.ask(name, 'About boats [simulate: words=30 unicode]')
  assert.ok(long.said.length > 60)
  assert.equal(again.said, long.said)
  assert.ok(long.said.startsWith(short.said))
  assert.notEqual(other.said, long.said)
  const { answers: [record], calls } = await client.json('/simulator/answers?contains=About boats')
  assert.ok(calls >= 1)
  assert.equal(record.prompt, 'About boats')
  await checkRecord(other, 'whole')
}

async function everyFaultHappensWhereItWasAskedFor(name) {
  const { failed } = DIALECTS[name]
  const whole = await client.ask(name, 'About rain [simulate: words=9]')
  const count = whole.events.length
  for (let at = 0; at < count; at += 1) {
    const cut = await client.ask(name, `About rain [simulate: words=9 cut=${at}]`)
    assert.ok(cut.broken, `${name} cut=${at}`)
    assert.equal(cut.events.length, at)
    assert.ok(whole.said.startsWith(cut.said))
    await checkRecord(cut, 'cut')
    const early = await client.ask(name, `About rain [simulate: words=9 end-early=${at}]`)
    assert.ok(!early.broken, `${name} end-early=${at}`)
    assert.equal(early.events.length, at)
    await checkRecord(early, 'ended-early')
    const failing = await client.ask(name, `About rain [simulate: words=9 error-at=${at}]`)
    assert.ok(!failing.broken && failing.events.length > at && failed(failing.events.at(-1)), `${name} error-at=${at}`)
    await checkRecord(failing, 'whole')
  }
  const first = await client.ask(name, 'About rain [simulate: error-first]')
  assert.equal(first.said, '')
  assert.ok(failed(first.events.at(-1)))
  for (const bytes of [0, 1, 77, whole.bytes.length - 1]) {
    const cut = await client.ask(name, `About rain [simulate: words=9 reset cut-bytes=${bytes}]`)
    assert.ok(cut.broken, `${name} cut-bytes=${bytes}`)
    await until('the record of the cut', async () => (await client.record(cut.id))?.bytes === bytes)
  }
  for (const status of [429, 500, 529]) {
    const failing = await client.ask(name, `About rain [simulate: status=${status}]`)
    assert.equal(failing.status, status)
    assert.ok(JSON.parse(failing.text).error)
  }
}

async function everyPaceAndSpellingCarriesTheSameEvents(name) {
  const whole = await client.ask(name, 'About shells [simulate: words=12 unicode]')
  const sse = !name.startsWith('ollama')
  const ways = ['pace=once', 'pace=split', 'pace=byte', 'burst=5', 'gzip', 'gzip pace=split', 'first=1ms wait=1ms delay=1ms']
  const all = 'crlf no-space ids comments pace=byte'
  const spellings = sse ? ['crlf', 'cr', 'no-space', 'comments', 'comments=1', 'retry=3000', 'ids', all] : []
  for (const way of [...ways, ...spellings]) {
    const other = await client.ask(name, `About shells [simulate: words=12 unicode ${way}]`)
    assert.equal(other.said, whole.said, `${name} ${way}`)
    assert.equal(other.events.length, whole.events.length)
    assert.equal(other.headers.get('content-encoding'), way.includes('gzip') ? 'gzip' : null)
    if (way.includes('comments')) assert.match(other.text, /(^|\n): OPENROUTER PROCESSING\r?\n\r?\n/)
    if (way.includes('ids')) assert.match(other.text, /^id: ?0\r?$/m)
    if (way === 'no-space') assert.match(other.text, /^data:\{/m)
    if (way === 'retry=3000') assert.match(other.text, /^retry: 3000\n\n/)
    await checkRecord(other, 'whole')
  }
  if (!sse) return
  // By header and by query too, and the header goes first.
  const { path, body, headers } = DIALECTS[name]
  const simulate = { 'x-simulate': 'cut=2; words=5' }
  const byHeader = await client.post(`${path}?simulate=cut=1,words=4`, body('About shells'), { ...headers, ...simulate })
  assert.equal(byHeader.events.length, 2)
}

async function pacesAreSeenOnTheWire() {
  const block = 'event: number\ndata: {"n":1,"of":8}\n\n'
  const steady = await client.chunks('/sse/count?to=8')
  assert.equal(steady.length, 8)
  assert.equal(String(steady[0]), block)
  const bursts = await client.chunks('/sse/count?to=8&simulate=burst=3')
  assert.deepEqual(bursts.map((chunk) => chunk.length / block.length), [3, 3, 2])
  assert.equal((await client.chunks('/sse/count?to=8&simulate=pace=once')).length, 1)
  assert.equal((await client.chunks('/sse/count?to=8&simulate=pace=byte')).length, 8 * block.length)
  const { path, body } = DIALECTS['openai-chat']
  const halves = await client.chunks(path, body('[say: 日本語] [simulate: pace=split]'))
  const parted = halves.findIndex((half) => half.includes('content":"') && half.at(-1) >= 0xc0)
  assert.ok(parted >= 0)
  assert.ok(Buffer.concat(halves.slice(parted, parted + 2)).includes('日本語'))
  // Compressed, too, each event can be read as soon as it has been sent.
  const compressed = await client.open('/sse/count?to=8&simulate=gzip,hang-at=3')
  let seen = ''
  for await (const part of compressed.body.pipeThrough(new TextDecoderStream())) {
    if ((seen += part).endsWith(block.replace('1', '3'))) break
  }
  assert.equal(readBlocks(seen).length, 3)
}

async function responsesCanBeComeBackTo() {
  const { path, body, text } = DIALECTS['openai-responses']
  const asked = { ...body('About wind [simulate: words=20 delay=1ms cut=6]'), background: true }
  const begun = await client.post(path, asked)
  assert.ok(begun.broken)
  assert.equal(begun.events.length, 6)
  assert.equal(begun.events[1].event, 'response.queued')
  const { id } = begun.events[0].data.response
  const rest = await client.get(`${path}/${id}?stream=true&starting_after=5`)
  const events = [...begun.events, ...rest.events]
  assert.deepEqual(events.map(({ data }) => data.sequence_number), events.map((_, index) => index))
  assert.equal(events.at(-1).event, 'response.completed')
  assert.equal(events.map(text).join(''), events.at(-1).data.response.output[0].content[0].text)
  const done = await client.json(`${path}/${id}`)
  assert.equal(done.status, 'completed')
  assert.ok((await client.get(`${path}/${id}?stream=true&starting_after=9`, { 'x-simulate': 'cut=2' })).broken)
  const { calls, resumes } = await client.json('/simulator/answers')
  assert.ok(calls > 0)
  assert.equal(resumes, 3)

  const synchronous = await client.json(path, { ...body('About wind'), stream: false })
  assert.equal((await client.record(synchronous.id)).state, 'whole')
  assert.equal((await client.json(`${path}/${synchronous.id}`)).id, synchronous.id)
  assert.equal((await client.get(`${path}/${synchronous.id}?stream=true`)).status, 400)
  assert.equal((await client.get(`${path}/resp_unknown`)).status, 404)
}

async function responsesCanBeCancelled() {
  const { path, body } = DIALECTS['openai-responses']
  const slow = { ...body('About tides [simulate: words=100 delay=1h burst=50]'), background: true }
  const { id, status } = await client.json(path, { ...slow, stream: false })
  assert.equal(status, 'queued')
  const following = client.get(`${path}/${id}?stream=true`)
  assert.equal((await client.json(`${path}/${id}/cancel`, {})).status, 'cancelled')
  assert.equal((await client.json(`${path}/${id}/cancel`, {})).status, 'cancelled')
  assert.ok(!(await following).events.some(({ event }) => event === 'response.completed'))
  const synchronous = await client.json(path, { ...body('About tides'), stream: false })
  assert.equal((await client.post(`${path}/${synchronous.id}/cancel`, {})).status, 400)
}

async function backgroundIsRefusedWhereItIsLacking() {
  const lacking = await start('--no-background', '--require-key')
  const { path, body } = DIALECTS['openai-responses']
  const refused = await lacking.post(path, { ...body('Hello'), background: true }, {})
  assert.equal(refused.status, 400)
  assert.equal(JSON.parse(refused.text).error.code, 'unknown_parameter')
  assert.equal((await lacking.post(path, body('Hello'))).status, 401)
  assert.equal((await lacking.post(path, body('Hello'), { authorization: 'Bearer key' })).status, 200)
}

async function aClientThatLeavesIsNoticed() {
  const leave = new AbortController()
  const { path, body } = DIALECTS['openai-chat']
  const response = await client.open(path, {
    method: 'POST', body: JSON.stringify(body('About silence [simulate: hang-at=3]')), signal: leave.signal,
  })
  const id = response.headers.get('x-request-id')
  await until('three events', async () => (await client.record(id)).events === 3)
  assert.equal((await client.record(id)).state, 'running')
  leave.abort()
  await until('the end of the call', async () => (await client.record(id)).client_left)

  // One that is kept waiting behind the last event.
  const lingering = client.socket('/sse/count?to=2&simulate=linger')
  let seen = ''
  for await (const bytes of lingering) if ((seen += bytes).includes('"n":2')) break
  assert.ok(!seen.includes('\r\n0\r\n'))
  const lingered = () => client.lastRecord('/sse/count?to=2&simulate=linger')
  await until('the end of the call that lingered', async () => (await lingered()).client_left)
  assert.equal((await lingered()).events, 2)

  // And ones that have stopped reading: the answer waits for them, compressed or not, until they go.
  for (const query of ['/sse/count?to=300000&simulate=burst=1000', '/sse/count?to=300000&simulate=gzip,pace=once']) {
    const stuck = client.socket(query).pause()
    const record = await until('bytes on their way', async () => {
      const before = await client.lastRecord(query)
      return before?.bytes > 0 && before
    })
    assert.equal(record.state, 'running')
    stuck.destroy()
    await until('the end of the call that was stuck', async () => (await client.lastRecord(query)).client_left)
  }
}

async function faultsEndWhenTheyAreCounted() {
  const prompt = 'About luck [simulate: status=500 faults=2]'
  const statuses = []
  for (let call = 0; call < 4; call += 1) statuses.push((await client.ask('anthropic', prompt)).status)
  assert.deepEqual(statuses, [500, 500, 200, 200])
  const response = await client.open('/simulator/answers', { method: 'DELETE' })
  assert.deepEqual((await response.json()).calls, 0)
  assert.equal((await client.ask('anthropic', prompt)).status, 500)
}

async function badRequestsAreRefusedInTheDialectsWords() {
  const anthropicBody = DIALECTS.anthropic.body('Hello')
  const keyless = await client.post('/v1/messages', anthropicBody, { 'anthropic-version': '2023-06-01' })
  assert.equal(keyless.status, 401)
  assert.equal(JSON.parse(keyless.text).error.type, 'authentication_error')
  const versionless = await client.post('/v1/messages', anthropicBody, { 'x-api-key': 'key' })
  assert.equal(versionless.status, 400)
  assert.match(JSON.parse(versionless.text).error.message, /anthropic-version/)
  for (const [name, { path, headers }] of Object.entries(DIALECTS)) {
    const empty = await client.post(path, {}, headers)
    assert.equal(empty.status, 400, name)
    assert.ok(JSON.parse(empty.text).error, name)
    const mistaken = await client.ask(name, 'Hello [simulate: slowly]')
    assert.equal(mistaken.status, 400, name)
    assert.match(mistaken.text, /there is no option slowly/)
  }
  assert.equal((await client.get('/v1/nothing')).status, 404)
  assert.equal((await client.open('/v1/responses', { method: 'POST', body: '{' })).status, 400)
}

/** What arrived is what the simulator says that it sent, to the byte. */
async function checkRecord(arrived, state) {
  const record = await until('the end of the record', async () => {
    const told = await client.record(arrived.id)
    return told.state !== 'running' && told
  })
  assert.equal(record.state, state)
  assert.equal(record.text, arrived.said)
  assert.equal(record.events, arrived.events.length)
  assert.equal(record.bytes, arrived.bytes.length)
  assert.equal(record.sha256, createHash('sha256').update(arrived.bytes).digest('hex'))
}

function checkInput({ place, days, unit }) {
  assert.equal(typeof place, 'string')
  assert.ok(Number.isInteger(days))
  assert.ok(['C', 'F'].includes(unit))
}
