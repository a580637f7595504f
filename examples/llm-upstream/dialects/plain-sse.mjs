// No provider: a generator as people write them, `GET /sse/count?to=10`, for any `EventSource`.
//
// It counts from 1 in named events and ends by closing, as generators do, which tells nobody whether it was whole. Asked
// again, it begins again.

export const plainSse = {
  name: 'sse',
  framing: 'sse',
  idPrefix: 'sse-',
  routes: ['GET', 'POST'].map((method) => ({ method, path: /^\/sse\/count$/, answer: count })),
  refusal: () => undefined,
  read: () => ({ prompt: '', streamed: true, tools: [] }),
  plan,
  failure: (turn, before) => [{ event: 'failed', data: { after: before.length } }],
  problem: (status, message) => ({ error: message ?? `status ${status}` }),
}

async function count(call) {
  const to = Number(call.url.searchParams.get('to') ?? TO_DEFAULT)
  call.body = { ...call.body, to: Number.isInteger(to) && to >= 0 ? Math.min(to, TO_MAX) : TO_DEFAULT }
  await call.generate()
}

function plan(turn, { to }) {
  return Array.from({ length: to }, (_, index) => {
    const n = index + 1
    return { event: n % 10 === 0 ? 'ten' : 'number', data: { n, of: to }, text: `${n}\n` }
  })
}

const TO_DEFAULT = 10
const TO_MAX = 1_000_000
