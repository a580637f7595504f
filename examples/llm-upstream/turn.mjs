// What is answered: the text and the tool call, as a function of the request alone.
//
// The same prompt always gets the same words, and a longer answer to it begins with the shorter one, so a test knows what
// must arrive. `[say: some text]` in the prompt names the answer itself. Directives are taken out before the prompt is
// hashed: how an answer travels does not change what it says. Read `makeTurn` first.

import { createHash, randomBytes } from 'node:crypto'

/** The directives in a prompt: its options, what it wants said, and the rest. */
export function readPrompt(text) {
  const options = [...text.matchAll(/\[simulate:([^\]]*)\]/g)].map((match) => match[1]).join(' ')
  const say = text.match(/\[say:\s?([^\]]*)\]/)?.[1]
  return { options, say, rest: text.replace(/\[(simulate|say):[^\]]*\]/g, '').trim() }
}

/**
 * One answer before any dialect has put it in words: `tokens` joined are its text, `finish` is why it stops
 * (`stop`, `length`, `tool`), `tool` is `{ id, name, input, pieces }` where one is called.
 */
export function makeTurn({ prompt, model, tools, forcedTool, afterTool, tokensMax, behaviour }) {
  const { say, rest } = readPrompt(prompt)
  const all = say === undefined ? invent(rest, behaviour) : split(say)
  const tokens = all.slice(0, tokensMax ?? all.length)
  const tool = afterTool ? undefined : chooseTool(tools, forcedTool ?? behaviour.tool, rest)
  return {
    model,
    tokens,
    text: tokens.join(''),
    tool,
    finish: tool ? 'tool' : tokens.length < all.length ? 'length' : 'stop',
    created_ms: Date.now(),
    inputTokens: split(prompt).length,
    outputTokens: tool ? tool.pieces.length : tokens.length,
  }
}

/** An identifier in the manner of the providers: `msg_0f3…`. */
export function newId(prefix) {
  return prefix + randomBytes(12).toString('hex')
}

function invent(prompt, { words, unicode }) {
  const random = seeded(prompt)
  const tokens = []
  let sentenceEnds = 0
  for (let index = 0; index < words; index += 1) {
    const starts = index === sentenceEnds
    if (starts) sentenceEnds += SENTENCE_WORDS_MIN + Math.floor(random() * SENTENCE_WORDS_SPREAD)
    const pick = random()
    const exotic = unicode && random() < 0.4
    const list = exotic ? UNICODE : WORDS
    const word = list[Math.floor(pick * list.length)]
    const cased = starts && !exotic ? word[0].toUpperCase() + word.slice(1) : word
    tokens.push((index === 0 ? '' : ' ') + cased + (index + 1 === sentenceEnds ? '.' : ''))
  }
  return tokens
}

function split(text) {
  return text.match(/\s*\S+|\s+$/g) ?? []
}

function chooseTool(tools, wanted, seed) {
  if (!wanted || tools.length === 0) return undefined
  const tool = wanted === true ? tools[0] : tools.find(({ name }) => name === wanted)
  if (!tool) return undefined
  const input = fill(tool.schema ?? {}, seeded(`${seed}/${tool.name}`))
  const json = JSON.stringify(input)
  return { id: newId('call_'), name: tool.name, input, pieces: json.match(/[^]{1,7}/gu) }
}

/** A value that a JSON schema describes, as far as arguments of tools go: types, enums, nesting. */
function fill(schema, random) {
  if (schema.enum) return schema.enum[Math.floor(random() * schema.enum.length)]
  if ('const' in schema) return schema.const
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type
  switch (type) {
    case 'string': return WORDS[Math.floor(random() * WORDS.length)]
    case 'integer': return Math.floor(random() * 100)
    case 'number': return Math.round(random() * 1000) / 10
    case 'boolean': return random() < 0.5
    case 'array': return [fill(schema.items ?? { type: 'string' }, random)]
    case 'null': return null
    default: {
      const properties = Object.entries(schema.properties ?? {})
      return Object.fromEntries(properties.map(([name, property]) => [name, fill(property, random)]))
    }
  }
}

/** The generator `mulberry32`, started from a hash of `text`. */
function seeded(text) {
  let state = createHash('sha256').update(text).digest().readInt32LE(0)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const SENTENCE_WORDS_MIN = 6
const SENTENCE_WORDS_SPREAD = 8

const WORDS = `the a river stone slowly carries old light under bridges where small boats wait for morning and wind moves
over quiet fields while someone counts waves along the shore because each tide leaves a line of shells that children
gather before rain comes down from grey hills with news of distant towns`.split(/\s+/)

// What breaks a parser that splits by anything but CR and LF, cuts characters, or forgets to escape. U+0085 is not among
// them, since Ollama sends it as it is and the official Python client splits its lines there; `[say: …]` can.
const UNICODE = [
  'naïve', 'Straße', 'ελληνικά', '日本語', '한국어', 'עברית', 'हिन्दी', '🙂', '👩‍👩‍👧', '🇯🇵', 'e\u0301', '𝒳', '"quoted"', '\\n is no line',
  'a\nline', 'two\r\nlines', 'sep\u2028arated', 'para\u2029graph', 'tab\tstop', 'data: [DONE]', '{"error":1}', ':', '</script>',
]
