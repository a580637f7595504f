/** What a stream dispatches: {@link StreamMessage} for events of the stream, others for what happens to it. */

/** What makes a {@link StreamMessage}, whichever transport brought it. */
export interface MessageParts {
  readonly data: string;
  readonly lastEventId: string;
  readonly origin: string;
  readonly topic?: string | undefined;
  readonly encoding?: string | undefined;
}

/** A `MessageEvent` as an `EventSource` dispatches it, with what Longwave tells beyond. */
export class StreamMessage<Value = unknown> extends MessageEvent<string> {
  /** The topic that the event is of; undefined where only one topic is read by its URL. */
  readonly topic: string | undefined;
  /** `base64` where the data is binary. */
  readonly encoding: string | undefined;

  constructor(type: string, { topic, encoding, ...parts }: MessageParts) {
    super(type, parts);
    this.topic = topic;
    this.encoding = encoding;
  }

  /** The data as JSON. @throws SyntaxError where it is none. */
  json(): Value {
    return JSON.parse(this.data);
  }

  /** The data's bytes: decoded where it is binary, else in UTF-8. */
  bytes(): Uint8Array<ArrayBuffer> {
    if (this.encoding !== "base64") return new TextEncoder().encode(this.data);
    return Uint8Array.from(atob(this.data), (character) => character.charCodeAt(0));
  }
}

/** Events are lost to this reader. Its type is `longwave.gap`, which no publisher can use. */
export class GapEvent extends StreamMessage<Gap> implements Gap {
  /** Where the reader was. */
  readonly after: string;
  /** Everything up to and with this cursor is not to be had any more; what follows comes. */
  readonly resumed: string;
  readonly reason: string;

  constructor(parts: MessageParts) {
    super(GAP, parts);
    ({ after: this.after, resumed: this.resumed, reason: this.reason } = this.json());
  }
}

export interface Gap {
  readonly after: string;
  readonly resumed: string;
  /** `retention`, `epoch` or `corruption`. */
  readonly reason: string;
}

/** A topic has ended. Its type is `longwave.end`, which no publisher can use. */
export class EndEvent extends StreamMessage<{ reason: string }> {
  /** `done`, `error`, `cancelled`, `truncated`, `timeout`, `crashed` or `deleted`. */
  readonly reason: string;

  constructor(parts: MessageParts) {
    super(END, parts);
    this.reason = this.json().reason;
  }
}

/** From here on events come by another transport, behind the same id. Its type is `longwave.transport`. */
export class TransportEvent extends Event {
  readonly transport: Transport;

  constructor(transport: Transport) {
    super(TRANSPORT);
    this.transport = transport;
  }
}

export type Transport = "sse" | "long-poll";

/** The connection was lost, and another is tried; or, with the stream's `readyState` `CLOSED`, none is. */
export class StreamErrorEvent extends Event {
  readonly error: StreamError;

  constructor(error: StreamError) {
    super("error");
    this.error = error;
  }
}

/** Why a connection was lost, or a stream given up. `cause` is what the platform says. */
export class StreamError extends Error {
  override name = "StreamError";
  /** The status of the answer that was not taken; undefined where it was not about one. */
  readonly status: number | undefined;

  constructor(message: string, { status, cause }: { status?: number; cause?: unknown } = {}) {
    super(message, { cause });
    this.status = status;
  }
}

/** The event for what a stream brought. */
export function messageOf(type: string, parts: MessageParts): StreamMessage {
  try {
    if (type === GAP) return new GapEvent(parts);
    if (type === END) return new EndEvent(parts);
  } catch {
    // Another server's own, of another shape: an event like any other.
  }
  return new StreamMessage(type, parts);
}

export const GAP = "longwave.gap";
export const END = "longwave.end";
export const TRANSPORT = "longwave.transport";
