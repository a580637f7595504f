/**
 * The event-stream parser: bytes in, events out, cut anywhere.
 *
 * {@link EventParser} follows "interpreting an event stream" of the HTML standard to the letter, with a limit of length
 * added. It knows nothing of connections: what opens and reopens them is `source.ts`.
 */

/** An event as the stream has it. */
export interface ParsedEvent {
  /** `message` where none was named. */
  readonly type: string;
  readonly data: string;
  /** The last id up to here, whether this event brought it or one before. */
  readonly lastEventId: string;
  /** The fields of this event that the standard does not know, by name; of one that is repeated, the last. */
  readonly extensions: ReadonlyMap<string, string>;
}

export interface EventParserOptions {
  /** The last id of a connection before this one. Default: none, which is empty. */
  lastEventId?: string;
  /** Called for each comment, without its colon and one space behind that. */
  onComment?: (comment: string) => void;
  /** Called for each time, in milliseconds, that the server asks to wait before reconnecting. */
  onRetry?: (retryMs: number) => void;
}

/** Turns the bytes of one connection into events. An event comes out with the first byte that ends it. */
export class EventParser {
  /** The id to reconnect with. It moves at the blank line behind an event, and also behind an id alone. */
  lastEventId: string;
  #onComment: EventParserOptions["onComment"];
  #onRetry: EventParserOptions["onRetry"];
  // Strips the byte order mark, and keeps what a chunk begins of a character.
  #decoder = new TextDecoder();
  /** The start of the line whose end has not come. */
  #line = "";
  /** The last line ended with a CR that was the last character: an LF that comes next belongs to it. */
  #mayOweLf = false;
  #id: string;
  #type = "";
  /** Every line of data with an LF behind it. */
  #data = "";
  #extensions = new Map<string, string>();
  /** How many characters the event under way has, without line ends. */
  #length = 0;

  constructor({ lastEventId = "", onComment, onRetry }: EventParserOptions = {}) {
    this.lastEventId = this.#id = lastEventId;
    this.#onComment = onComment;
    this.#onRetry = onRetry;
  }

  /**
   * Takes the next bytes of the stream.
   *
   * @returns the events that they end, in order.
   * @throws RangeError when one event is longer than {@link EVENT_LENGTH_MAX}.
   */
  push(chunk: Uint8Array): ParsedEvent[] {
    const text = this.#decoder.decode(chunk, { stream: true });
    const events: ParsedEvent[] = [];
    let at = 0;
    if (this.#mayOweLf && text) {
      this.#mayOweLf = false;
      if (text[0] === "\n") at = 1;
    }
    let cr = text.indexOf("\r", at);
    let lf = text.indexOf("\n", at);
    for (;;) {
      // Most streams use one of the two alone: a place is looked for again only when it was passed.
      if (cr !== -1 && cr < at) cr = text.indexOf("\r", at);
      if (lf !== -1 && lf < at) lf = text.indexOf("\n", at);
      const end = cr === -1 || (lf !== -1 && lf < cr) ? lf : cr;
      if (end === -1) break;
      const event = this.#takeLine(this.#line + text.slice(at, end));
      this.#line = "";
      if (event) events.push(event);
      at = end + 1;
      if (end !== cr) continue;
      if (at === text.length) this.#mayOweLf = true;
      else if (text[at] === "\n") at += 1;
    }
    this.#line += text.slice(at);
    if (this.#length + this.#line.length > EVENT_LENGTH_MAX) {
      throw new RangeError(`an event is longer than ${EVENT_LENGTH_MAX} characters`);
    }
    return events;
  }

  #takeLine(line: string): ParsedEvent | undefined {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (colon === 0) {
      this.#onComment?.(value);
      return undefined;
    }
    this.#length += line.length;
    if (name === "data") this.#data += `${value}\n`;
    else if (name === "event") this.#type = value;
    else if (name === "id") this.#id = value.includes("\0") ? this.#id : value;
    else if (name === "retry") {
      if (/^\d+$/.test(value)) this.#onRetry?.(Number(value));
    } else this.#extensions.set(name, value);
    return undefined;
  }

  #dispatch(): ParsedEvent | undefined {
    this.lastEventId = this.#id;
    const event = this.#data && {
      type: this.#type || "message",
      data: this.#data.slice(0, -1),
      lastEventId: this.#id,
      extensions: this.#extensions,
    };
    this.#type = this.#data = "";
    this.#length = 0;
    this.#extensions = new Map();
    return event || undefined;
  }
}

/** One event may be this long: as long as the server's own decoder takes. */
export const EVENT_LENGTH_MAX = 16 * 1024 * 1024;
