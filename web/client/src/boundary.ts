/**
 * Cuts a stream of bytes where a reader of it may be cut off: behind whole events.
 *
 * Bytes in, bytes out: nothing here knows of requests. {@link EventCutter} is for `text/event-stream`,
 * {@link LineCutter} for one JSON document a line. Neither changes a byte, and neither understands more of an event
 * than where it ends and what its `id` is.
 */

/** What is behind the last boundary is held back, so that it can be dropped when the rest of it never comes. */
export abstract class Cutter {
  // Grows by doubling: an event that comes in many small pieces is copied in proportion to its length only.
  #buffer = new Uint8Array(BUFFER_BYTES_FIRST);
  #length = 0;

  /** How many bytes are held back. */
  get held(): number {
    return this.#length;
  }

  /**
   * Takes the next bytes of the stream.
   *
   * @returns those that go on, up to the last boundary; often none.
   * @throws RangeError when one event is longer than {@link HELD_BYTES_MAX}.
   */
  push(chunk: Uint8Array): Uint8Array<ArrayBuffer> {
    const length = this.#length + chunk.length;
    if (length > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(length, this.#buffer.length * 2));
      grown.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = grown;
    }
    this.#buffer.set(chunk, this.#length);
    this.#length = length;
    const whole = this.#take("more may come");
    if (this.#length > HELD_BYTES_MAX) {
      throw new RangeError(`an event is longer than ${HELD_BYTES_MAX} bytes`);
    }
    return whole;
  }

  /** The stream ended in order. Gives what is whole now that no more bytes come; what stays held is part of an event. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#take("ended");
  }

  /** Drops what is held back: the stream goes on from the last boundary. */
  rewind(): void {
    this.#length = 0;
  }

  /** Where the last boundary in the held bytes is; goes on where the call before it stopped. */
  protected abstract scan(held: Uint8Array, state: State): number;

  #take(state: State): Uint8Array<ArrayBuffer> {
    const end = this.scan(this.#buffer.subarray(0, this.#length), state);
    const taken = this.#buffer.slice(0, end);
    this.#buffer.copyWithin(0, end, this.#length);
    this.#length -= end;
    return taken;
  }
}

type State = "more may come" | "ended";

/**
 * Server-sent events, with any of the three line ends. A boundary is behind the blank line that ends an event. A bare
 * comment line `:` between events is one too: a sign of life that must not wait for the next event. Other comments
 * go on with the event that they precede.
 */
export class EventCutter extends Cutter {
  /** The last `id` in front of the last boundary, as the standard has it; empty where there was none. */
  lastEventId = "";
  /** The `id` of the event that has begun. */
  #id = "";
  /** Where the line begins that has no end yet, counted from the last boundary. */
  #line = 0;
  /** How far that line was looked through. `#line <= #seen` */
  #seen = 0;
  /** No line of an event has come since the last boundary. */
  #isBetween = true;
  /** The last line that ended with CR had no LF behind it: this stream needs not be asked whether one is coming. */
  #endsWithCr = false;
  /** The last line ended with a CR that was the last byte: a LF that comes next belongs to it. */
  #mayOweLf = false;

  override rewind(): void {
    super.rewind();
    this.#id = this.lastEventId;
    this.#line = this.#seen = 0;
    this.#isBetween = true;
    this.#mayOweLf = false;
  }

  protected override scan(held: Uint8Array, state: State): number {
    let boundary = 0;
    if (this.#mayOweLf && held.length > this.#line) {
      this.#mayOweLf = false;
      if (held[this.#line] === LF) {
        this.#line = this.#seen = this.#line + 1;
        if (this.#isBetween) boundary = this.#line;
      }
    }
    while (this.#seen < held.length) {
      const end = lineEnd(held, this.#seen);
      const next = this.#behindLineEnd(held, end, state);
      this.#seen = next ?? end;
      if (next === undefined) break;
      if (this.#takeLine(held.subarray(this.#line, end))) boundary = next;
      this.#line = next;
    }
    this.#line -= boundary;
    this.#seen -= boundary;
    return boundary;
  }

  /** Where the next line begins, if the one up to `end` is known to have ended. */
  #behindLineEnd(held: Uint8Array, end: number, state: State): number | undefined {
    if (end === held.length) return undefined;
    if (held[end] === LF) return end + 1;
    if (end + 1 < held.length) {
      this.#endsWithCr = held[end + 1] !== LF;
      return this.#endsWithCr ? end + 1 : end + 2;
    }
    // Half of a CRLF, for all that is known: to go on with it would part the two.
    if (!this.#endsWithCr && state !== "ended") return undefined;
    this.#mayOweLf = true;
    return end + 1;
  }

  /** Whether behind this line is a boundary. */
  #takeLine(line: Uint8Array): boolean {
    if (line.length === 0) {
      this.lastEventId = this.#id;
      this.#isBetween = true;
      return true;
    }
    if (line[0] === COLON && line.length === 1 && this.#isBetween) return true;
    this.#isBetween = false;
    if (line[0] === LETTER_I && line[1] === LETTER_D && (line.length === 2 || line[2] === COLON)) {
      const value = new TextDecoder().decode(line.subarray(line[3] === SPACE ? 4 : 3));
      if (!value.includes("\0")) this.#id = value;
    }
    return false;
  }
}

/** One document a line. A boundary is behind each LF. */
export class LineCutter extends Cutter {
  /** How many lines that are not blank lie in front of the last boundary. */
  lines = 0;
  /** How far the held bytes were looked through. */
  #seen = 0;
  /** The line that has no end yet has nothing but white space. */
  #isBlank = true;

  override rewind(): void {
    super.rewind();
    this.#seen = 0;
    this.#isBlank = true;
  }

  protected override scan(held: Uint8Array, state: State): number {
    let boundary = 0;
    for (; this.#seen < held.length; this.#seen += 1) {
      if (held[this.#seen] === LF) {
        this.#count();
        boundary = this.#seen + 1;
      } else if (!WHITE.includes(held[this.#seen] ?? LF)) {
        this.#isBlank = false;
      }
    }
    if (state === "ended") {
      // That a document is whole shows in itself: the last line needs no LF.
      this.#count();
      boundary = held.length;
    }
    this.#seen -= boundary;
    return boundary;
  }

  #count(): void {
    if (!this.#isBlank) this.lines += 1;
    this.#isBlank = true;
  }
}

/** The place of the next CR or LF, or the length. */
function lineEnd(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length && bytes[at] !== LF && bytes[at] !== CR) at += 1;
  return at;
}

/** One event may be this long: far more than a generated image takes in base64. */
export const HELD_BYTES_MAX = 64 * 1024 * 1024;
const BUFFER_BYTES_FIRST = 4096;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const WHITE = [SPACE, CR, 0x09];
const COLON = 0x3a;
const LETTER_D = 0x64;
const LETTER_I = 0x69;
