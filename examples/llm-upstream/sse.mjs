// An event as bytes: a block of `text/event-stream`, in any of the ways in which the standard lets it be written, or a line of
// NDJSON. An event is `{ event?, data }`; data that is no string is written as JSON. Nothing here reads.

/** `number` counts the events of the answer, from 0. */
export function encodeSse({ event, data }, behaviour, number) {
  const space = behaviour['no-space'] ? '' : ' '
  const lines = []
  if (behaviour.ids) lines.push(`id:${space}${number}`)
  if (event) lines.push(`event:${space}${event}`)
  for (const line of asText(data).split('\n')) lines.push(`data:${space}${line}`)
  const comment = behaviour.comments && number % behaviour.comments === 0 ? block([COMMENT], behaviour) : ''
  const retry = behaviour.retry !== undefined && number === 0 ? block([`retry:${space}${behaviour.retry}`], behaviour) : ''
  return Buffer.from(retry + comment + block(lines, behaviour))
}

/** As Go writes JSON, which escapes what would break a script element or a line of JavaScript. */
export function encodeNdjson({ data }) {
  return Buffer.from(`${asText(data).replace(/[<>&\u2028\u2029]/g, escape)}\n`)
}

function escape(character) {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

function block(lines, { crlf, cr }) {
  const end = crlf ? '\r\n' : cr ? '\r' : '\n'
  return lines.map((line) => line + end).join('') + end
}

function asText(data) {
  return typeof data === 'string' ? data : JSON.stringify(data)
}

const COMMENT = ': OPENROUTER PROCESSING'
