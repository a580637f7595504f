/** The cases of `conformance/sse`, each whole, cut in two at every byte, and byte by byte. */

import { EVENT_LENGTH_MAX, EventParser } from "longwave/parser";

import { equal, ok, surroundings, test } from "./harness.js";

interface Case {
  name: string;
  input?: string;
  inputBase64?: string;
  events: { type: string; data: string; lastEventId: string; extensions?: Record<string, string> }[];
  lastEventId: string;
  retryMs: number | null;
  comments?: string[];
}

const FILES = 13;

test("every conformance case, cut anywhere, comes out as the standard has it", async () => {
  const files: Record<string, Case[]> = await (await fetch(`${surroundings.server}/vectors`)).json();
  ok(Object.keys(files).length >= FILES, "files of cases are missing");
  for (const [file, cases] of Object.entries(files)) {
    for (const one of cases) {
      const bytes = bytesOf(one);
      const pieces = [[bytes], [...bytes].map((byte) => Uint8Array.of(byte))];
      for (let at = 0; at <= bytes.length; at += 1) pieces.push([bytes.subarray(0, at), bytes.subarray(at)]);
      for (const [index, some] of pieces.entries()) check(one, some, `${file}: ${one.name}, way ${index}`);
    }
  }
});

test("an event goes out at its CR, and the LF that comes late is swallowed", () => {
  const parser = new EventParser();
  const push = (text: string) => parser.push(new TextEncoder().encode(text)).map(({ data }) => data);
  equal(push("data: a\r\n\r"), ["a"]);
  equal(push("\ndata: b\n\n"), ["b"]);
});

test("an event without an end is given up before it fills the memory", () => {
  const parser = new EventParser();
  const chunk = new Uint8Array(EVENT_LENGTH_MAX / 4).fill(0x78);
  for (let count = 0; count < 4; count += 1) parser.push(chunk);
  let error: unknown;
  try {
    parser.push(chunk);
  } catch (thrown) {
    error = thrown;
  }
  ok(error instanceof RangeError, "it grew on");
});

function bytesOf({ input, inputBase64 }: Case): Uint8Array {
  if (input !== undefined) return new TextEncoder().encode(input);
  return Uint8Array.from(atob(inputBase64 ?? ""), (character) => character.charCodeAt(0));
}

function check(one: Case, pieces: Uint8Array[], about: string): void {
  const comments: string[] = [];
  let retryMs: number | null = null;
  const parser = new EventParser({
    onComment: (comment) => comments.push(comment),
    onRetry: (ms) => {
      retryMs = ms;
    },
  });
  const events = pieces.flatMap((piece) => parser.push(piece));
  equal(
    events.map(({ type, data, lastEventId, extensions }, index) => ({
      type,
      data,
      lastEventId,
      ...(one.events[index]?.extensions && { extensions: sorted(Object.fromEntries(extensions)) }),
    })),
    one.events.map(({ type, data, lastEventId, extensions }) => ({
      type,
      data,
      lastEventId,
      ...(extensions && { extensions: sorted(extensions) }),
    })),
    about,
  );
  equal(parser.lastEventId, one.lastEventId, about);
  equal(retryMs, one.retryMs, about);
  if (one.comments) equal(comments, one.comments, about);
}

function sorted(fields: Record<string, string>): [string, string][] {
  return Object.entries(fields).sort();
}
