// A README's commands, for checks that run them as they are written, but for the addresses.

import { readFileSync } from 'node:fs'
import { Program } from './check.mjs'

/** The blocks of shell commands in a section of the example's README. */
export function commands(heading) {
  const sections = readFileSync('README.md', 'utf8').split(/^(?=## )/m)
  const section = sections.find((section) => section.startsWith(`${heading}\n`))
  if (!section) throw new Error(`README.md has no section "${heading}"`)
  return [...section.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block]) => block)
}

/** Starts the program of a command, with more flags, and returns what its line `pattern` captures. */
export async function starts(command, flags, pattern) {
  const [name, ...given] = command.trim().split(' ')
  const [, found] = await new Program(name, [...given, ...flags]).line(pattern)
  return found
}
