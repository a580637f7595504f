/**
 * A WebSocket of the subprotocol `longwave.v1` that comes back: subscriptions with their cursors, publishes until they
 * are acknowledged.
 *
 * {@link SocketConnection} knows frames and no listeners; `websocket.ts` and `hub.ts` are its faces.
 */

import { Backoff, onOnline } from "./backoff.js";
import { END, GAP, type MessageParts, StreamError } from "./events.js";

/** Where a subscription starts; without any, now. */
export interface Start {
  /** Behind this id, or `first`, or `now`. */
  after?: string;
  /** At the newest so many events. */
  last?: number;
  /** At the first event accepted so long ago (`10m`), or at this time. */
  since?: string;
  /** Only events of these types, separated by commas. */
  type?: string;
}

/** One event of a subscription, as far as it can be sent between threads. */
export interface Delivery {
  readonly type: string;
  readonly parts: MessageParts;
}

/** What a subscription tells whoever made it. */
export interface Sink {
  /** The server follows it, from this cursor on. */
  opened(cursor: string): void;
  delivered(delivery: Delivery): void;
  /** The connection is lost, and another is tried. */
  lost(error: StreamError): void;
  /** The server refuses it, or its topic has ended. */
  over(error: StreamError | undefined): void;
}

export interface PublishOptions {
  /** Default: the topic that the URL names. */
  topic?: string;
  type?: string;
  encoding?: "base64";
  /** The idempotency key. Default: one of its own, so that what is sent again after a lost connection is there once. */
  key?: string;
  /** Ends the topic behind the event. */
  end?: string;
}

export interface Published {
  readonly id: string;
  readonly topic: string;
  readonly time: string;
  readonly duplicate?: true;
}

/** Why a publish was refused. */
export class PublishError extends Error {
  override name = "PublishError";
  /** The problem's code, such as `topic-ended`. */
  readonly code: string;

  constructor(code: string, detail: string) {
    super(`${code}: ${detail}`);
    this.code = code;
  }
}

interface Subscription {
  readonly selector: string;
  readonly start: Start;
  readonly sink: Sink;
  /** Where the next connection goes on; empty until the server has said where this began. */
  cursor: string;
  /** The server has said so on this connection. What comes before is of a subscription that was given up. */
  isFollowed: boolean;
}

interface Waiting {
  readonly frame: object;
  readonly resolve: (published: Published) => void;
  readonly reject: (error: Error) => void;
}

export class SocketConnection {
  readonly subscriptions = new Map<string, Subscription>();
  #url: string;
  #WebSocket: typeof WebSocket;
  #socket: WebSocket | undefined;
  #isOpen = false;
  /** Ends the wait for the connection's end. */
  #lose: ((cause: unknown) => void) | undefined;
  #life = new AbortController();
  /** In the order in which they were asked for, by `ref`. */
  #publishes = new Map<string, Waiting>();
  #refs = 0;
  #retryMs: number;
  #backoff: Backoff;
  #heardAt = 0;

  /** `url` is where the server takes connections without topics: its `/events`. */
  constructor(url: string, { WebSocket: Socket = globalThis.WebSocket, retryMs = RETRY_MS, retriesMax = Infinity } = {}) {
    if (!Socket) throw new TypeError("this platform has no WebSocket: give one by the option `WebSocket`");
    this.#url = url.replace(/^http/, "ws");
    this.#WebSocket = Socket;
    this.#retryMs = retryMs;
    this.#backoff = new Backoff(retriesMax);
    onOnline(() => this.#socket?.close(), this.#life.signal);
    const timer = setInterval(() => this.#beat(), BEAT_MS);
    this.#life.signal.addEventListener("abort", () => clearInterval(timer));
    void this.#run();
  }

  /** Follows a selector. There is one subscription for each: making it again is an error of the caller's. */
  subscribe(selector: string, start: Start, sink: Sink): void {
    const subscription = { selector, start, sink, cursor: "", isFollowed: false };
    this.subscriptions.set(selector, subscription);
    if (this.#isOpen) this.#follow(subscription);
  }

  unsubscribe(selector: string): void {
    if (this.subscriptions.delete(selector) && this.#isOpen) this.#send({ op: "unsubscribe", topic: selector });
  }

  /** Resolves when the event is durable. Over a lost connection it is sent again, under the same key. */
  publish(data: unknown, options: PublishOptions): Promise<Published> {
    if (this.#life.signal.aborted) return Promise.reject(new StreamError("the connection is closed"));
    if (this.#publishes.size >= PUBLISHES_MAX) {
      return Promise.reject(new PublishError("overloaded", `${PUBLISHES_MAX} publishes wait for their answers`));
    }
    const ref = `p${(this.#refs += 1)}`;
    const frame = { op: "publish", ref, key: randomKey(), ...options, data };
    return new Promise((resolve, reject) => {
      this.#publishes.set(ref, { frame, resolve, reject });
      if (this.#isOpen) this.#send(frame);
    });
  }

  close(error = new StreamError("the connection is closed")): void {
    if (this.#life.signal.aborted) return;
    this.#life.abort();
    this.#socket?.close();
    for (const { reject } of this.#publishes.values()) reject(error);
    this.#publishes.clear();
  }

  async #run(): Promise<void> {
    const { signal } = this.#life;
    try {
      // Whoever makes it subscribes first.
      await undefined;
      while (!signal.aborted) {
        const cause = await this.#connect();
        signal.throwIfAborted();
        const error = new StreamError("the connection was lost", { cause });
        for (const { sink } of [...this.subscriptions.values()]) sink.lost(error);
        if (await this.#backoff.wait(signal, this.#retryMs)) continue;
        for (const { sink } of [...this.subscriptions.values()]) sink.over(error);
        this.close(error);
      }
    } catch {
      // Closed while it waited.
    }
  }

  /** One connection, from its opening to its end. */
  #connect(): Promise<unknown> {
    return new Promise((resolve) => {
      const socket = (this.#socket = new this.#WebSocket(this.#url, "longwave.v1"));
      const opening = setTimeout(() => socket.close(), OPENING_MAX_MS);
      socket.onopen = () => {
        clearTimeout(opening);
        this.#isOpen = true;
        this.#heardAt = Date.now();
        for (const subscription of this.subscriptions.values()) this.#follow(subscription);
        for (const { frame } of this.#publishes.values()) this.#send(frame);
      };
      socket.onmessage = ({ data }) => {
        this.#heardAt = Date.now();
        if (this.#socket === socket) this.#take(JSON.parse(String(data)));
      };
      // What is wrong is told by the close that follows.
      socket.onerror = () => {};
      this.#lose = resolve;
      socket.onclose = ({ code, reason }) => {
        clearTimeout(opening);
        // One that was abandoned closes late.
        if (this.#socket === socket) this.#isOpen = false;
        resolve(new Error(`closed with ${code}${reason && `: ${reason}`}`));
      };
    });
  }

  #follow(subscription: Subscription): void {
    const { selector, start: { after, last, since, type }, cursor } = subscription;
    subscription.isFollowed = false;
    const start = cursor ? { after: cursor } : { after, last, since };
    this.#send({ op: "subscribe", ref: `s${selector}`, topic: selector, ...start, type });
  }

  #take(frame: Frame): void {
    const { sub, ack, error, gap, end, retry } = frame;
    const subscription = this.subscriptions.get(sub ?? "");
    if (ack) return this.#acknowledge(ack);
    if (error) return this.#refuse(error, sub);
    if (retry !== undefined) this.#retryMs = retry;
    if (!subscription?.isFollowed) return;
    this.#backoff.failures = 0;
    const origin = new URL(this.#url.replace(/^ws/, "http")).origin;
    const deliver = (type: string, parts: Omit<MessageParts, "origin">) => {
      subscription.cursor = parts.lastEventId;
      subscription.sink.delivered({ type, parts: { origin, ...parts } });
    };
    if (gap) deliver(GAP, { data: JSON.stringify(gap), lastEventId: gap.resumed });
    else if (end) {
      deliver(END, { data: JSON.stringify({ reason: end.reason }), lastEventId: end.id, topic: end.topic });
      // One with wildcards goes on.
      if (end.topic === sub && this.subscriptions.delete(end.topic)) subscription.sink.over(undefined);
    } else if (frame.id !== undefined) {
      const { type, parts } = deliveryOf(frame as Envelope, origin);
      deliver(type, parts);
    }
  }

  #acknowledge(ack: Published & { ref: string; cursor?: string }): void {
    if (ack.ref.startsWith("s")) {
      const subscription = this.subscriptions.get(ack.ref.slice(1));
      if (!subscription || ack.cursor === undefined) return;
      this.#backoff.failures = 0;
      subscription.isFollowed = true;
      subscription.cursor = ack.cursor;
      subscription.sink.opened(ack.cursor);
      return;
    }
    const { ref, ...published } = ack;
    this.#publishes.get(ref)?.resolve(published);
    this.#publishes.delete(ref);
  }

  #refuse({ ref = "", code, detail }: { ref?: string; code: string; detail: string }, sub?: string): void {
    const waiting = this.#publishes.get(ref);
    if (waiting) {
      this.#publishes.delete(ref);
      return waiting.reject(new PublishError(code, detail));
    }
    const selector = sub ?? (ref.startsWith("s") ? ref.slice(1) : "");
    const subscription = this.subscriptions.get(selector);
    if (subscription && this.subscriptions.delete(selector)) subscription.sink.over(new StreamError(`${code}: ${detail}`));
  }

  /** Browsers hide the server's pings: to know that it is there, it is asked. */
  #beat(): void {
    if (!this.#isOpen) return;
    // Timers of a page that slept come late: what came meanwhile is read first, and answers the next beat.
    if (Date.now() - this.#heardAt > SILENCE_MAX_MS) this.#abandon();
    else this.#send({ op: "ping" });
  }

  /** A close handshake with a peer that is gone takes long, and says nothing. */
  #abandon(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
    this.#isOpen = false;
    this.#lose?.(new Error(`nothing was heard for ${SILENCE_MAX_MS} ms`));
  }

  #send(frame: object): void {
    this.#socket?.send(JSON.stringify(frame));
  }
}

/** An event as JSON. */
export interface Envelope {
  readonly id: string;
  readonly topic: string;
  readonly type?: string;
  readonly data: unknown;
  readonly encoding?: string;
}

/** What an envelope delivers. Text and a JSON string look alike in it. */
export function deliveryOf({ type = "message", data, id, topic, encoding }: Envelope, origin: string): Delivery {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return { type, parts: { data: text, lastEventId: id, origin, topic, encoding } };
}

interface Frame extends Partial<Envelope> {
  sub?: string;
  ack?: Published & { ref: string; cursor?: string };
  error?: { ref?: string; code: string; detail: string };
  gap?: { after: string; resumed: string; reason: string };
  end?: { id: string; topic: string; reason: string };
  retry?: number;
}

/** `randomUUID` is for secure contexts only. */
function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** So many publishes may wait for their answers. */
const PUBLISHES_MAX = 1024;
const RETRY_MS = 3_000;
const OPENING_MAX_MS = 15_000;
const BEAT_MS = 15_000;
const SILENCE_MAX_MS = 45_000;
