/** Where a stream may be cut: every example is taken whole, byte by byte, and cut in two at every byte. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { EventCutter, HELD_BYTES_MAX, LineCutter } from "../dist/boundary.js";

const STREAMS: Record<string, string[]> = {
  "line feeds": ["data: a\nid: s:1\n\n", "event: x\ndata: b\ndata: c\nid: s:2\n\n"],
  "carriage returns": ["data: a\rid: s:1\r\r", "event: x\rdata: b\rid: s:2\r\r"],
  both: ["data: a\r\nid: s:1\r\n\r\n", "event: x\r\ndata: b\r\nid: s:2\r\n\r\n"],
  "comments and heartbeats": [": before\ndata: a\nid: s:1\n\n", ":\n", ":\n", "data: b\n: within\n:\nid: s:2\n\n"],
  "characters of several bytes": ["data: żółć 🌊\nid: s:1\n\n", "data: 波\nid: s:2\n\n"],
  "a block without data": ["event: x\n\n", "id: s:1\n\n", "data\nid:s:2\n\n"],
  "a mixture": ["data: a\r\nid: s:1\n\n", ":\r\n", "data: b\nid: s:2\r\n\n"],
};

for (const [name, blocks] of Object.entries(STREAMS)) {
  const whole = Buffer.from(blocks.join(""));
  const boundaries = new Set<number>([0]);
  blocks.reduce((at, block) => {
    const next = at + Buffer.byteLength(block);
    boundaries.add(next);
    return next;
  }, 0);

  test(`${name}: bytes go on up to boundaries only, and in the end all of them`, () => {
    for (let cut = 0; cut <= whole.length; cut += 1) {
      const cutter = new EventCutter();
      const given = Buffer.concat([cutter.push(whole.subarray(0, cut)), cutter.push(whole.subarray(cut)), cutter.finish()]);
      assert.deepEqual(given, whole);
      assert.equal(cutter.held, 0);
      assert.equal(cutter.lastEventId, "s:2");
    }
  });

  test(`${name}: byte by byte, what has gone on ends at a boundary`, () => {
    const cutter = new EventCutter();
    let given = 0;
    for (const byte of whole) {
      given += cutter.push(Uint8Array.of(byte)).length;
      const isBoundary = boundaries.has(given) || (whole[given - 1] === 0x0d && boundaries.has(given + 1));
      assert.ok(isBoundary, `${given} of ${JSON.stringify(whole.toString())}`);
    }
    assert.equal(given + cutter.finish().length, whole.length);
  });

  test(`${name}: what is behind the last boundary can be sent again`, () => {
    for (let cut = 0; cut <= whole.length; cut += 1) {
      const cutter = new EventCutter();
      const first = Buffer.from(cutter.push(whole.subarray(0, cut)));
      cutter.rewind();
      assert.equal(cutter.held, 0);
      // A line end that was parted goes on whole where its first half was not handed on.
      const from = first.length;
      const rest = Buffer.concat([cutter.push(whole.subarray(from)), cutter.finish()]);
      assert.deepEqual(Buffer.concat([first, rest]), whole);
      assert.equal(cutter.lastEventId, "s:2");
    }
  });
}

test("an event that ends with carriage returns does not wait for the next", () => {
  const cutter = new EventCutter();
  assert.equal(Buffer.from(cutter.push(Buffer.from("data: a\rid: s:1\r\r"))).toString(), "data: a\rid: s:1\r\r");
});

test("half of a line end is never handed on alone", () => {
  const cutter = new EventCutter();
  assert.equal(cutter.push(Buffer.from("data: a\r\nid: s:1\r\n\r")).length, 0);
  assert.equal(Buffer.from(cutter.push(Buffer.from("\n"))).toString(), "data: a\r\nid: s:1\r\n\r\n");
});

test("the id of an event that has not ended does not count", () => {
  const cutter = new EventCutter();
  cutter.push(Buffer.from("data: a\nid: s:1\n\ndata: b\nid: s:2\n"));
  assert.equal(cutter.lastEventId, "s:1");
  cutter.rewind();
  cutter.push(Buffer.from("data: c\n\n"));
  assert.equal(cutter.lastEventId, "s:1");
});

test("an id with NUL is none, and other fields that begin like it are others", () => {
  const cutter = new EventCutter();
  cutter.push(Buffer.from("id: s:1\nid: a\0b\nidea: s:2\n\n"));
  assert.equal(cutter.lastEventId, "s:1");
});

test("lines go on whole, and are counted without the blank ones", () => {
  const whole = Buffer.from('{"a":"ż🌊"}\n\n{"b":2}\r\n \r\n{"c":3}\n');
  for (let cut = 0; cut <= whole.length; cut += 1) {
    const cutter = new LineCutter();
    const first = Buffer.from(cutter.push(whole.subarray(0, cut)));
    assert.ok(first.length === 0 || first.at(-1) === 0x0a);
    cutter.rewind();
    const rest = Buffer.concat([cutter.push(whole.subarray(first.length)), cutter.finish()]);
    assert.deepEqual(Buffer.concat([first, rest]), whole);
    assert.equal(cutter.lines, 3);
  }
});

test("the last line of an answer that ended in order needs no line end", () => {
  const cutter = new LineCutter();
  cutter.push(Buffer.from('{"a":1}\n{"b":'));
  assert.equal(cutter.push(Buffer.from("2}")).length, 0);
  assert.equal(Buffer.from(cutter.finish()).toString(), '{"b":2}');
  assert.equal(cutter.lines, 2);
});

test("an event without an end is given up before it fills the memory", () => {
  const cutter = new EventCutter();
  const chunk = Buffer.alloc(HELD_BYTES_MAX / 8, "x");
  for (let count = 0; count < 8; count += 1) cutter.push(chunk);
  assert.throws(() => cutter.push(Buffer.from("x")), RangeError);
});
