/**
 * `EventSource` as the standard has it, and what it can do beyond.
 *
 * {@link EventSource} connects and reconnects; `parser.ts` reads what comes, `stream.ts` hands it on, and `poll.ts` asks
 * where a proxy keeps the stream to itself.
 */

import { Backoff, onOnline, retryAfterMs } from "./backoff.js";
import { END, EndEvent, GAP, StreamError, StreamErrorEvent, type Transport, TransportEvent, messageOf } from "./events.js";
import { EventParser } from "./parser.js";
import { type Page, isTopicUrl, pageOf, pageUrl, readUrl } from "./poll.js";
import { EventStream } from "./stream.js";

export interface EventSourceOptions {
  /** Whether cookies go to other origins too. Default false. */
  withCredentials?: boolean;
  /** Sent with every request. */
  headers?: HeadersInit;
  /** Default `GET`. */
  method?: string;
  /** Sent with every request; a stream can't be, as it could be sent only once. */
  body?: Exclude<BodyInit, ReadableStream>;
  /** What goes behind `Authorization: Bearer`. A function is called before each request; when it fails, it is tried again. */
  token?: string | (() => string | undefined | Promise<string | undefined>);
  /** Closes the stream when aborted; iteration then fails with its reason. */
  signal?: AbortSignal;
  /** Start behind this event: what {@link EventSource.lastEventId} was before the page was left. */
  lastEventId?: string;
  /** How long to wait before reconnecting where the server does not say. Default 3,000. */
  retryMs?: number;
  /** How often in a row a connection may be lost before an event comes. Default `Infinity`. */
  retriesMax?: number;
  /** Statuses that are tried again, after `Retry-After` if that is longer. Default: none, as the standard has it. */
  retryStatuses?: readonly number[];
  /**
   * `auto` (default) goes to long poll where a proxy holds a topic of Longwave back, and returns when it no longer does;
   * `sse` never does. Other servers' streams are left alone.
   */
  transport?: "auto" | "sse";
  /** The server's first line comes at once. After so much silence in its place, a proxy is suspected. Default 10,000. */
  openingMaxMs?: number;
  /** A stream that is silent for longer has lost its connection. Default 45,000 for topics, three heartbeats; else never. */
  silenceMaxMs?: number;
  /** How often a reader by long poll tries whether the stream comes through by now. Default 120,000. */
  probeEveryMs?: number;
  /** What sends the requests. Default: the platform's `fetch`, looked up at each call. */
  fetch?: typeof fetch;
}

/** A drop-in for the platform's `EventSource`. `Types` says what the JSON of each type of event is. */
export class EventSource<Types extends object = {}> extends EventStream<Types> {
  readonly url: string;
  readonly withCredentials: boolean;
  #options: EventSourceOptions;
  #lastEventId: string;
  /** Where a server said that a stream without an event yet goes on from. */
  #cursor = "";
  #retryMs: number;
  #backoff: Backoff;
  #transport: Transport = "sse";
  /** What listeners know. */
  #announced: Transport = "sse";
  #canPoll: boolean;
  #silenceMaxMs: number;
  /** How many connections in a row opened and then fell silent. */
  #silences = 0;
  /** Ends the request that is on its way. */
  #request = new AbortController();
  /** The topic that is read has ended: what the connection's end then means. */
  #hasEnded = false;

  constructor(url: string | URL, options: EventSourceOptions = {}) {
    super(options.signal);
    try {
      this.url = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href).href;
    } catch {
      throw new DOMException(`"${url}" is no URL`, "SyntaxError");
    }
    const { withCredentials = false, method = "GET", transport, lastEventId = "", retriesMax = Infinity } = options;
    this.withCredentials = withCredentials;
    this.#options = options;
    this.#lastEventId = lastEventId;
    this.#retryMs = options.retryMs ?? RETRY_MS;
    this.#backoff = new Backoff(retriesMax);
    const isTopic = method === "GET" && isTopicUrl(this.url);
    this.#canPoll = isTopic && transport !== "sse";
    this.#silenceMaxMs = options.silenceMaxMs ?? (isTopic ? SILENCE_MAX_MS : Infinity);
    // What was open before the network went away is as good as dead, and may take minutes to say so.
    onOnline(() => this.#request.abort(), this.life.signal);
    this.life.signal.addEventListener("abort", () => this.#request.abort());
    void this.#run();
  }

  /** The id of the last event that was dispatched; the next connection goes on behind it. Can be set. */
  get lastEventId(): string {
    return this.#lastEventId;
  }

  set lastEventId(id: string) {
    this.#lastEventId = id;
  }

  /** How events come at present. */
  get transport(): Transport {
    return this.#announced;
  }

  async #run(): Promise<void> {
    try {
      // A constructor's caller has set no listener yet, and may not have got the stream.
      await undefined;
      for (;;) {
        const transport = this.#transport;
        const lost = await (transport === "sse" ? this.#stream() : this.#poll());
        this.life.signal.throwIfAborted();
        if (this.#transport !== transport) continue;
        if (lost.isOver) return void (await this.fail(lost.error, "ended"));
        await this.emit(new StreamErrorEvent(lost.error), 0);
        const leastMs = Math.min(Math.max(this.#retryMs, lost.leastMs ?? 0), TIMER_MAX_MS);
        if (!(await this.#backoff.wait(this.life.signal, leastMs))) throw lost.error;
      }
    } catch (error) {
      if (this.life.signal.aborted) return;
      const given = error instanceof StreamError ? error : new StreamError("the stream failed", { cause: error });
      await this.fail(given, given.status === 204 ? "ended" : "failed");
    }
  }

  /** Reads one connection until it is lost; with `count`, one that ends behind so many events. */
  async #stream(count?: number): Promise<Lost> {
    const isPoll = count !== undefined;
    let boundMs = isPoll ? SILENCE_MAX_MS : this.#canPoll ? this.#openingMaxMs : this.#silenceMaxMs;
    const url = isPoll ? readUrl(this.url, this.#position, count) : this.url;
    let hasOpened = false;
    let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
    let event: EndEvent | undefined;
    try {
      const response = await this.#ask(url, "text/event-stream", boundMs);
      const lost = await this.#refusal(response);
      if (lost) return lost;
      const origin = new URL(response.url || this.url).origin;
      this.#cursor = response.headers.get("longwave-cursor") ?? this.#cursor;
      if (this.readyState !== 1) await this.emit(new Event("open"), 1);
      const parser = new EventParser({
        lastEventId: this.#lastEventId,
        onRetry: (ms) => {
          this.#retryMs = ms;
        },
      });
      reader = response.body?.getReader();
      for (;;) {
        const chunk = await bounded(boundMs, this.#request, () => reader?.read());
        if (!chunk || chunk.done) break;
        if (hasOpened) this.#silences = 0;
        else if (!isPoll) await this.#announce("sse");
        hasOpened = true;
        if (!isPoll) boundMs = this.#silenceMaxMs;
        for (const { type, data, lastEventId, extensions } of parser.push(chunk.value)) {
          this.#backoff.failures = this.#silences = 0;
          const [topic, encoding] = [extensions.get("topic"), extensions.get("encoding")];
          const message = messageOf(type, { data, lastEventId, origin, topic, encoding });
          event = message instanceof EndEvent ? message : undefined;
          await this.#dispatch(message);
        }
        this.#lastEventId = parser.lastEventId;
        await this.drained();
      }
    } catch (cause) {
      if (this.life.signal.aborted || (cause instanceof StreamError && !(cause instanceof Silence))) throw cause;
      return this.#lose(cause, hasOpened);
    } finally {
      // An abort does not reach a body that nobody reads just now, in Node.
      reader?.cancel().catch(() => {});
    }
    // Of several topics, the end of one is not known to be the last.
    this.#hasEnded = event !== undefined && event.topic === undefined;
    const isOnce = (this.#options.method ?? "GET") !== "GET";
    return { isOver: this.#hasEnded || isOnce, error: new StreamError("the server ended the connection") };
  }

  /** What a broken connection means. */
  async #lose(cause: unknown, hasOpened: boolean): Promise<Lost> {
    const error = cause instanceof StreamError ? cause : new StreamError("the connection was lost", { cause });
    // Sent again without a position, it would be another request, maybe for something that costs.
    if ((this.#options.method ?? "GET") !== "GET" && !this.#lastEventId) throw error;
    if (!(cause instanceof Silence) || !this.#canPoll || this.#transport !== "sse") return { error };
    // A connection may die in silence. Where the next one opens and dies too, something on the way holds events back.
    this.#silences += 1;
    if (hasOpened && this.#silences < SILENCES_MAX) return { error };
    const page = await this.#page("0s").catch(() => undefined);
    if (page) this.#transport = "long-poll";
    return { error };
  }

  /** Asks for pages until one can't be had, or the stream comes through again. */
  async #poll(): Promise<Lost> {
    const stop = new AbortController();
    void this.#probe(stop.signal);
    try {
      for (;;) {
        // The first page says where the reader is, at once; only then is it open.
        const isUnderWay = this.readyState === 1 && this.#announced === "long-poll";
        const page = await this.#page(isUnderWay ? POLL_WAIT : "0s");
        if (!page) {
          // What the server has against it, it says of the stream too.
          this.#transport = "sse";
          return { error: new StreamError("the server gives no page") };
        }
        await this.#announce("long-poll");
        if (this.readyState !== 1) await this.emit(new Event("open"), 1);
        this.#backoff.failures = 0;
        const lost = await this.#take(page);
        if (lost) return lost;
        await this.drained();
      }
    } catch (cause) {
      if (this.life.signal.aborted || (cause instanceof StreamError && !(cause instanceof Silence))) throw cause;
      return { error: new StreamError("the connection was lost", { cause }) };
    } finally {
      stop.abort();
    }
  }

  /** Hands on what a page tells of. Its events are read as the stream has them: an envelope does not say all of that. */
  async #take({ events, gap, end, ends, cursor }: Page): Promise<Lost | undefined> {
    const { origin } = new URL(this.url);
    if (gap) {
      await this.#dispatch(messageOf(GAP, { data: JSON.stringify(gap), lastEventId: gap.resumed, origin }));
    }
    if (events.length > 0) {
      const before = this.#lastEventId;
      const lost = await this.#stream(events.length);
      return this.#lastEventId === before || lost.isOver ? lost : undefined;
    }
    for (const { id, topic, reason } of ends ?? (end ? [end] : [])) {
      await this.#dispatch(messageOf(END, { data: JSON.stringify({ reason }), lastEventId: id, origin, topic }));
    }
    this.#cursor = cursor;
    // Ids move with events alone; a cursor is for the next question.
    if (this.#lastEventId) this.#lastEventId = cursor;
    return end ? { isOver: true, error: new StreamError("everything was read") } : undefined;
  }

  async #dispatch(message: ReturnType<typeof messageOf>): Promise<void> {
    const id = message.lastEventId;
    // Before the listeners, who may read it, and in the task, as nothing of a closed stream counts.
    const before = this.#lastEventId;
    this.#lastEventId = id;
    await this.emit(message).catch((reason) => {
      this.#lastEventId = before;
      throw reason;
    });
  }

  async #announce(transport: Transport): Promise<void> {
    if (this.#announced === transport) return;
    this.#announced = transport;
    await this.emit(new TransportEvent(transport));
  }

  /** A page behind the position, at once or as soon as there is something; undefined where the server gives none. */
  async #page(wait: string): Promise<Page | undefined> {
    const url = pageUrl(this.url, this.#position, wait);
    const response = await this.#ask(url, "application/json", SILENCE_MAX_MS);
    const page = await bounded(SILENCE_MAX_MS, this.#request, () => pageOf(response));
    // Later connections are those of a server that knows no pages.
    if (!page && response.ok) this.#canPoll = false;
    if (page && !this.#position) this.#cursor = page.events.length > 0 ? "" : page.cursor;
    return page;
  }

  /** While pages are asked for, tries now and then whether the stream comes through. */
  async #probe(signal: AbortSignal): Promise<void> {
    const everyMs = this.#options.probeEveryMs ?? PROBE_EVERY_MS;
    let isAsking = false;
    const timer = setInterval(async () => {
      if (isAsking) return;
      isAsking = true;
      const request = new AbortController();
      try {
        const url = readUrl(this.url, "now");
        const response = await this.#ask(url, "text/event-stream", this.#openingMaxMs, request);
        const chunk = await bounded(this.#openingMaxMs, request, () => response.body?.getReader().read());
        if (signal.aborted || !response.ok || !chunk?.value) return;
        this.#transport = "sse";
        this.#request.abort();
      } catch {
        // Not yet.
      } finally {
        isAsking = false;
        request.abort();
      }
    }, everyMs);
    signal.addEventListener("abort", () => clearInterval(timer));
  }

  get #position(): string {
    return this.#lastEventId || this.#cursor;
  }

  get #openingMaxMs(): number {
    return this.#options.openingMaxMs ?? OPENING_MAX_MS;
  }

  /** One request, with everything that the caller wants to be sent. */
  async #ask(url: string, accept: string, boundMs: number, request?: AbortController): Promise<Response> {
    const { token, method = "GET", body, fetch: send = (input, init) => globalThis.fetch(input, init) } = this.#options;
    const controller = request ?? (this.#request = new AbortController());
    const headers = new Headers(this.#options.headers);
    headers.set("accept", accept);
    // As the standard has it: the id's bytes in UTF-8, one character each.
    const id = String.fromCharCode(...new TextEncoder().encode(this.#position));
    if (id && url === this.url) headers.set("last-event-id", id);
    const bearer = typeof token === "function" ? await token() : token;
    if (bearer) headers.set("authorization", `Bearer ${bearer}`);
    this.life.signal.throwIfAborted();
    const credentials = this.withCredentials ? "include" : "same-origin";
    const init = { method, headers, credentials, cache: "no-store", signal: controller.signal, ...(body !== undefined && { body }) } as const;
    return bounded(boundMs, controller, () => send(url, init));
  }

  /** Why an answer is no stream; fails where asking again is of no use. */
  async #refusal(response: Response): Promise<Lost | undefined> {
    const { status, headers, body } = response;
    const type = headers.get("content-type") ?? "";
    if (status === 200 && /^\s*text\/event-stream\s*(;|$)/i.test(type)) return undefined;
    const problem = /json/.test(type) ? await response.json().catch(() => undefined) : void body?.cancel().catch(() => {});
    const why =
      status === 200 ? `the answer is ${type || "of no type"}, and no event stream` : `the server answered ${status}`;
    const error = new StreamError(problem?.detail ? `${why}: ${problem.detail}` : why, { status });
    if (!this.#options.retryStatuses?.includes(status)) throw error;
    return { error, leastMs: retryAfterMs(headers.get("retry-after")) };
  }
}

/** A connection that is lost. */
interface Lost {
  readonly error: StreamError;
  /** How long to wait at least. */
  readonly leastMs?: number;
  /** There is nothing to reconnect for. */
  readonly isOver?: boolean;
}

/** Nothing came within the bound. */
class Silence extends StreamError {}

/** What `promised` gives, unless that takes longer than the bound: then the request is ended. */
async function bounded<T>(boundMs: number, request: AbortController, promised: () => T | Promise<T>): Promise<T> {
  if (boundMs > TIMER_MAX_MS) return promised();
  const silence = new Silence(`nothing came for ${boundMs} ms`);
  const timer = setTimeout(() => request.abort(silence), boundMs);
  try {
    return await promised();
  } catch (error) {
    throw request.signal.reason === silence ? silence : error;
  } finally {
    clearTimeout(timer);
  }
}

/** Longer timers fire at once. */
const TIMER_MAX_MS = 2 ** 31 - 1;
const RETRY_MS = 3_000;
const OPENING_MAX_MS = 10_000;
const SILENCE_MAX_MS = 45_000;
const SILENCES_MAX = 2;
const PROBE_EVERY_MS = 120_000;
const POLL_WAIT = "25s";
