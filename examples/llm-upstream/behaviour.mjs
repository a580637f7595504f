// How an answer behaves: its length, its pace, and what goes wrong with it, by one table of options.
//
// The same option is a flag of the program (`--words 50`), a word in the prompt (`[simulate: words=50 delay=5ms]`), a part
// of the header `x-simulate: words=50; delay=5ms`, or of the query `?simulate=words=50,delay=5ms`. A later one in this list
// goes before an earlier. Read `OPTIONS` first; what the options do is in `delivery.mjs` and `turn.mjs`.

/**
 * Every option: the `kind` of its value, the `value` where nobody says, the value of the `bare` word, and whether it is a
 * `fault` (which `faults=N` ends after N calls).
 */
export const OPTIONS = {
  words: { kind: 'count', value: 40, help: 'tokens of the answer, each about a word' },
  unicode: { kind: 'flag', help: 'emoji, other scripts, quotes, line breaks and U+2028 among the words' },
  tool: { kind: 'name', bare: true, help: 'call a tool (of this name) instead of answering' },
  wait: { kind: 'duration', value: 0, help: 'time before the headers of the answer' },
  first: { kind: 'duration', value: 0, help: 'time between the headers and the first event' },
  delay: { kind: 'duration', value: 20, help: 'time before each token' },
  burst: { kind: 'count', value: 1, help: 'tokens that come together, in one write' },
  pace: { kind: 'pace', value: 'steady', help: 'steady, once (all in one write), byte (one a write), split (in mid-character)' },
  gzip: { kind: 'flag', help: 'compress where the client accepts it, flushed after each event' },
  crlf: { kind: 'flag', help: 'lines end with CR LF' },
  cr: { kind: 'flag', help: 'lines end with CR alone' },
  'no-space': { kind: 'flag', help: '`data:x`, without the space' },
  comments: { kind: 'count', bare: 4, help: 'a comment and a blank line before every Nth event' },
  retry: { kind: 'count', help: 'a block with `retry: N` alone, first' },
  ids: { kind: 'flag', help: 'an `id:` line of its own in each event' },
  done: { kind: 'flag', help: '`[DONE]` after a Responses stream, as some compatible servers send' },
  linger: { kind: 'duration', bare: Infinity, help: 'keep the connection open after the last event' },
  status: { kind: 'status', fault: true, help: 'answer with this HTTP error and the provider\'s body for it' },
  'error-first': { kind: 'flag', fault: true, help: 'the first event is the dialect\'s error' },
  'error-at': { kind: 'count', fault: true, help: 'N events, then the dialect\'s error' },
  cut: { kind: 'count', fault: true, help: 'N events, then the connection breaks' },
  'cut-bytes': { kind: 'count', fault: true, help: 'N bytes of the body (before compression), then the connection breaks' },
  reset: { kind: 'flag', fault: true, help: 'a connection that breaks does so by RST, not by FIN' },
  'end-early': { kind: 'count', fault: true, help: 'N events, then the body ends in order, without the terminal event' },
  'hang-at': { kind: 'count', fault: true, help: 'N events, then silence' },
  faults: { kind: 'count', value: Infinity, help: 'only the first N calls with the same prompt meet its faults' },
}

/** What a reader of options says about a word that is none, or a value that does not fit. */
export class BehaviourError extends Error {}

/** The behaviour that `texts` describe, over the defaults; a later one goes before an earlier. */
export function behaviour(defaults, ...texts) {
  return Object.assign({}, defaults, ...texts.filter(Boolean).map(parse))
}

/** What holds where nobody says anything. */
export function standardBehaviour() {
  return Object.fromEntries(Object.entries(OPTIONS).map(([name, option]) => [name, option.value]))
}

/** The options in `words=50 delay=20ms`, which may also be parted by commas and semicolons. */
export function parse(text) {
  const parts = text.split(/[\s;,]+/).filter(Boolean)
  return Object.fromEntries(parts.map((part) => {
    const [, name, value] = part.match(/^([^=]*)(?:=(.*))?$/)
    return [name, parseValue(name, value)]
  }))
}

/** One option's value; `text` is undefined where the option stands alone. */
export function parseValue(name, text) {
  const option = Object.hasOwn(OPTIONS, name) ? OPTIONS[name] : undefined
  if (!option) throw new BehaviourError(`there is no option ${name}; there are ${Object.keys(OPTIONS).join(', ')}`)
  if (text === undefined) {
    if (option.kind === 'flag') return true
    if (option.bare !== undefined) return option.bare
    throw new BehaviourError(`${name} needs a value: ${name}=…`)
  }
  const value = READERS[option.kind](text)
  if (value === undefined) throw new BehaviourError(`${name}=${text} is no ${option.kind}`)
  return value
}

/** The same behaviour with nothing going wrong. */
export function withoutFaults(given) {
  const faults = Object.keys(OPTIONS).filter((name) => OPTIONS[name].fault)
  return { ...given, ...Object.fromEntries(faults.map((name) => [name, undefined])) }
}

const COUNT_MAX = 1_000_000
const UNITS_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }
// The longest that a timer can be set to, some 24 days.
const DURATION_MAX_MS = 2 ** 31 - 1

const READERS = {
  flag: (text) => ({ true: true, false: false })[text],
  count: (text) => (/^\d+$/.test(text) && Number(text) <= COUNT_MAX ? Number(text) : undefined),
  status: (text) => (/^[45]\d\d$/.test(text) ? Number(text) : undefined),
  pace: (text) => (['steady', 'once', 'byte', 'split'].includes(text) ? text : undefined),
  name: (text) => text || undefined,
  duration: (text) => {
    const [, number, unit = 'ms'] = text.match(/^(\d+)(ms|s|m|h)?$/) ?? []
    const time_ms = Number(number) * UNITS_MS[unit]
    return time_ms <= DURATION_MAX_MS ? time_ms : undefined
  },
}
