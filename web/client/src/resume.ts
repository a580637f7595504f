/**
 * The body of a recorded answer that goes on over broken connections.
 *
 * {@link resumingBody} is all that others use. What it doesn't do: send the request itself, which is `fetch.ts`.
 */

import { Backoff, onOnline, retryAfterMs } from "./backoff.js";
import { EventCutter, LineCutter } from "./boundary.js";

/** What a call of {@link Plan.onResume} is told. */
export interface Resume {
  /** The stream's URL. */
  readonly stream: string;
  /** Which try this is since the last byte came through, from 1. Waiting for the network is none. */
  readonly attempt: number;
  /** The `id` of the last event that was handed on; empty before the first, and for NDJSON, which has none. */
  readonly lastEventId: string;
  /** Why the connection before was lost. */
  readonly cause: unknown;
}

/** How to go on with an answer. */
export interface Plan {
  /** What sends requests. */
  readonly send: typeof fetch;
  /** The stream's URL; its query says where a viewer without a position starts. */
  readonly stream: URL;
  /** Sent with every request for the stream: the caller's settings and credentials, no method, signal or body. */
  readonly init: RequestInit & { headers: Headers };
  /** The caller's. */
  readonly signal: AbortSignal;
  readonly format: Format;
  readonly retriesMax: number;
  readonly silenceMaxMs: number;
  readonly onCancel: "leave" | "cancel";
  readonly onResume: ((resume: Resume) => void) | undefined;
}

export type Format = "sse" | "ndjson";

/** The stream can't be resumed. `cause` is what broke the connection. */
export class ResumeError extends Error {
  override name = "ResumeError";
  /** The stream's URL. */
  readonly stream: string;
  /** The status of the answer that says so. */
  readonly status: number;

  constructor(stream: URL, status: number, cause: unknown) {
    const why = REFUSALS[status] ?? "the gateway refuses it";
    super(`the answer broke off and can't be resumed: ${why} (${status} ${stream.pathname})`, { cause });
    this.stream = stream.href;
    this.status = status;
  }
}

/** Which format an answer has; undefined for what is no stream of events. */
export function formatOf({ headers }: Response): Format | undefined {
  const [, sse, ndjson] = STREAM_TYPES.exec(headers.get("content-type") ?? "") ?? [];
  return sse ? "sse" : ndjson ? "ndjson" : undefined;
}

/**
 * Whether the connection closes with the answer. Node then takes a body that was cut for one that has ended, even in
 * chunks.
 */
function closesWithAnswer({ headers }: Response): boolean {
  return /\bclose\b/i.test(headers.get("connection") ?? "");
}

/**
 * The bytes of an answer, whole events at a time, gone on with from the stream's URL when its connection breaks. It
 * ends only when the answer has ended in order. What is not read is not fetched.
 */
export function resumingBody(
  answer: Response,
  body: ReadableStream<Uint8Array>,
  plan: Plan,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  // Nothing is read before it is asked for: the connection's own buffers hold a slow reader's answer back.
  return new ReadableStream(new Source(answer, body, plan), { highWaterMark: 0 });
}

class Source implements UnderlyingDefaultSource<Uint8Array<ArrayBuffer>> {
  #plan: Plan;
  #cutter: EventCutter | LineCutter;
  #backoff: Backoff;
  /** Of the body that is read. */
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  /** Aborted when the stream is over, in whatever way: nothing goes on behind the back of a reader who has gone. */
  #life = new AbortController();
  /** Ends the request that is on its way. */
  #request: AbortController | undefined;
  /** Why the connection is given up though it has not failed by itself. */
  #interruption: Error | undefined;

  /** Whether the end of the body that is read may be a cut. */
  #isEndUnsure: boolean;

  constructor(answer: Response, body: ReadableStream<Uint8Array>, plan: Plan) {
    this.#plan = plan;
    this.#isEndUnsure = closesWithAnswer(answer);
    this.#cutter = plan.format === "sse" ? new EventCutter() : new LineCutter();
    this.#backoff = new Backoff(plan.retriesMax);
    this.#reader = body.getReader();
  }

  start(controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>): void {
    const { signal } = this.#plan;
    const abort = () => {
      controller.error(signal.reason);
      this.cancel(signal.reason);
    };
    signal.addEventListener("abort", abort, this.#life);
    if (signal.aborted) abort();
    // What was open before the network went away is as good as dead, and may take minutes to say so.
    onOnline(() => this.#interrupt("the network was away"), this.#life.signal);
  }

  async pull(controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>): Promise<void> {
    try {
      for (;;) {
        const bytes = await this.#next();
        if (bytes?.length === 0) continue;
        if (bytes !== undefined) return controller.enqueue(bytes);
        this.#end();
        return controller.close();
      }
    } catch (error) {
      // Who has gone has had another answer, and is told no more.
      if (this.#life.signal.aborted) return;
      this.#end(error);
      controller.error(error);
    }
  }

  /** The reader has gone. */
  cancel(reason: unknown): void {
    this.#end(reason);
    const { send, stream, init, onCancel } = this.#plan;
    if (onCancel !== "cancel") return;
    // `keepalive` outlives the page. Nobody is left who could be told that it failed.
    send(stream, { ...init, method: "DELETE", keepalive: true }).then(discard, ignore);
  }

  /** The next bytes to go on, maybe none; undefined when the answer has ended in order. */
  async #next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { format, silenceMaxMs, stream } = this.#plan;
    // NDJSON has no sign of life between its lines.
    const timer =
      format === "sse" && startTimer(silenceMaxMs, () => this.#interrupt(`nothing came for ${silenceMaxMs} ms`));
    let chunk: Uint8Array | undefined;
    let cause: unknown;
    try {
      chunk = (await this.#reader?.read())?.value;
    } catch (error) {
      cause = error;
    }
    clearTimeout(timer || undefined);
    this.#life.signal.throwIfAborted();
    // A body that is cancelled seems to have ended in order.
    cause = this.#interruption ?? cause;
    if (cause === undefined) {
      const bytes = chunk === undefined ? this.#cutter.finish() : this.#cutter.push(chunk);
      if (bytes.length > 0) this.#backoff.failures = 0;
      if (chunk !== undefined || bytes.length > 0) return bytes;
      if (this.#cutter.held === 0 && !this.#isEndUnsure) return undefined;
      cause = new Error(`${stream.pathname} ended where it could not be told from a cut`);
    }
    const body = await this.#reconnect(cause);
    this.#reader = body?.getReader();
    return body ? NOTHING : undefined;
  }

  /** A body that goes on from the last boundary; nothing when everything was received. */
  async #reconnect(cause: unknown): Promise<ReadableStream<Uint8Array> | null> {
    this.#cutter.rewind();
    this.#drop(cause);
    let leastMs = 0;
    for (;;) {
      if (!(await this.#backoff.wait(this.#life.signal, leastMs))) throw cause;
      this.#interruption = undefined;
      const response = await this.#ask(cause);
      this.#life.signal.throwIfAborted();
      leastMs = 0;
      if (response === undefined) continue;
      const { status, body, headers } = response;
      if (status === 204) {
        const reason = headers.get("longwave-end") ?? "done";
        if (reason === "done") return null;
        throw new Error(`the answer ended before it was complete: ${reason}`, { cause });
      }
      if (status === 200 && formatOf(response) === this.#plan.format) {
        this.#isEndUnsure = closesWithAnswer(response);
        return body;
      }
      discard(response);
      // Asking again would be answered the same.
      if (status >= 400 && status < 500 && !TRY_AGAIN.includes(status)) {
        throw new ResumeError(this.#plan.stream, status, cause);
      }
      leastMs = retryAfterMs(headers.get("retry-after"));
    }
  }

  /** One request to go on; undefined when no answer came. */
  async #ask(cause: unknown): Promise<Response | undefined> {
    const { send, init, onResume, silenceMaxMs } = this.#plan;
    const stream = new URL(this.#plan.stream);
    const { searchParams } = stream;
    const headers = new Headers(init.headers);
    let lastEventId = "";
    if (this.#cutter instanceof LineCutter) {
      const start = Number(searchParams.get(STARTING_AFTER) ?? -1);
      if (this.#cutter.lines > 0) searchParams.set(STARTING_AFTER, `${start + this.#cutter.lines}`);
    } else if (this.#cutter.lastEventId) {
      lastEventId = this.#cutter.lastEventId;
      headers.set(LAST_EVENT_ID, lastEventId);
      for (const parameter of START_PARAMETERS) searchParams.delete(parameter);
    }
    onResume?.({ stream: this.#plan.stream.href, attempt: this.#backoff.failures || 1, lastEventId, cause });

    const request = (this.#request = new AbortController());
    const timer = startTimer(silenceMaxMs, () => request.abort());
    try {
      return await send(stream, { ...init, headers, cache: "no-store", redirect: "error", signal: request.signal });
    } catch {
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Opens another connection in place of one that has not failed by itself, which counts as no failure. */
  #interrupt(why: string): void {
    this.#interruption = new Error(why);
    this.#backoff.failures = 0;
    this.#drop(this.#interruption);
  }

  #end(reason?: unknown): void {
    this.#life.abort(reason);
    this.#drop(reason);
  }

  /** Lets go of the connection. */
  #drop(reason: unknown): void {
    this.#request?.abort(reason);
    this.#reader?.cancel(reason).catch(ignore);
  }
}

function startTimer(ms: number, callback: () => void): ReturnType<typeof setTimeout> {
  return setTimeout(callback, Math.min(ms, TIMER_MAX_MS));
}

/** A body that nobody reads would keep its connection. */
function discard({ body }: Response): void {
  body?.cancel().catch(ignore);
}

function ignore(): void {}

export const LAST_EVENT_ID = "last-event-id";
export const STARTING_AFTER = "starting_after";
/** Query parameters that say where a viewer starts. */
export const START_PARAMETERS = [STARTING_AFTER, "lastEventId", "snapshot"];
const NOTHING = new Uint8Array(0);
const STREAM_TYPES = /^\s*(?:(text\/event-stream)|(application\/(?:x-)?(?:ndjson|jsonl|jsonlines)))\s*(?:;|$)/i;
/** Answers of 4xx that may pass. */
const TRY_AGAIN = [408, 425, 429];
/** Longer timers fire at once. */
const TIMER_MAX_MS = 2 ** 31 - 1;
const REFUSALS: Record<number, string> = {
  404: "the gateway doesn't know the stream",
  410: "the gateway no longer has what is missing",
};
