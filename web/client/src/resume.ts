/**
 * The body of a recorded answer that goes on over broken connections.
 *
 * {@link resumingBody} is all that others use. What it doesn't do: send the request itself, which is `fetch.ts`.
 */

import { Backoff, isOffline, onOnline, retryAfterMs } from "./backoff.js";
import { EventCutter, LineCutter } from "./boundary.js";

/** What a call of {@link Plan.onResume} is told. */
export interface Resume {
  /** The stream's URL. */
  readonly stream: string;
  /** Which try this is since the last byte came through, from 1. */
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
  /** Sent with every request for the stream. Has no headers and no body. */
  readonly init: RequestInit;
  /** Sent with every request for the stream: the credentials, and where a viewer without a position starts. */
  readonly headers: Headers;
  /** The caller's. */
  readonly signal: AbortSignal | undefined;
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
    const why = REFUSALS[status] ?? "the request to go on with it was refused";
    super(`the answer broke off and can't be resumed: ${why} (${status} ${stream.pathname})`, { cause });
    this.stream = stream.href;
    this.status = status;
  }
}

/** Which format a content type is of; undefined for what is no stream of events. */
export function formatOf(contentType: string | null): Format | undefined {
  const essence = contentType?.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (essence === "text/event-stream") return "sse";
  return NDJSON_TYPES.test(essence) ? "ndjson" : undefined;
}

/**
 * The bytes of an answer, whole events at a time, gone on with from the stream's URL when its connection breaks. It
 * ends only when the answer has ended in order. What is not read is not fetched.
 */
export function resumingBody(response: Response, plan: Plan): ReadableStream<Uint8Array<ArrayBuffer>> {
  // Nothing is read before it is asked for: the connection's own buffers hold a slow reader's answer back.
  return new ReadableStream(new Source(response, plan), { highWaterMark: 0 });
}

class Source implements UnderlyingDefaultSource<Uint8Array<ArrayBuffer>> {
  #plan: Plan;
  #cutter: EventCutter | LineCutter;
  #backoff: Backoff;
  #attempt = 0;
  /** The body that is read; undefined once all was received, or between two connections. */
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  /** Aborted when the reader has gone: nothing goes on behind its back. */
  #life = new AbortController();
  /** Ends the request that is on its way. */
  #request: AbortController | undefined;
  /** Why the connection is given up though it has not failed by itself. */
  #interruption: Error | undefined;
  #stopListening: (() => void)[] = [];

  constructor(response: Response, plan: Plan) {
    this.#plan = plan;
    this.#cutter = plan.format === "sse" ? new EventCutter() : new LineCutter();
    this.#backoff = new Backoff(plan.retriesMax);
    this.#reader = response.body?.getReader();
  }

  start(controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>): void {
    const { signal } = this.#plan;
    const abort = () => {
      controller.error(signal?.reason);
      this.cancel(signal?.reason);
    };
    signal?.addEventListener("abort", abort);
    this.#stopListening = [
      () => signal?.removeEventListener("abort", abort),
      // What was open before the network went away is as good as dead, and may take minutes to say so.
      onOnline(() => this.#interrupt(new Error("the network was away"))),
    ];
    if (signal?.aborted) abort();
  }

  async pull(controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>): Promise<void> {
    try {
      for (;;) {
        const bytes = await this.#next();
        if (this.#life.signal.aborted) return;
        if (bytes === undefined) {
          this.#close();
          return controller.close();
        }
        if (bytes.length > 0) return controller.enqueue(bytes);
      }
    } catch (error) {
      // The stream has its error already when its reader has gone.
      if (this.#life.signal.aborted) return;
      this.#close();
      this.#drop(error);
      controller.error(error);
    }
  }

  /** The reader has gone. */
  cancel(reason: unknown): void {
    this.#close();
    this.#life.abort(reason);
    this.#drop(reason);
    const { send, stream, init, headers, onCancel } = this.#plan;
    if (onCancel === "leave") return;
    // `keepalive` outlives the page. Nobody is left who could be told that it failed.
    send(stream, { ...init, headers, method: "DELETE", keepalive: true }).then(discard, () => {});
  }

  /** The next bytes to go on, maybe none; undefined when the answer has ended in order. */
  async #next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { cause, chunk } = await this.#read();
    this.#life.signal.throwIfAborted();
    if (cause === undefined) {
      const bytes = chunk === undefined ? this.#cutter.finish() : this.#cutter.push(chunk);
      if (bytes.length > 0) {
        this.#backoff.reset();
        this.#attempt = 0;
      }
      if (chunk !== undefined || bytes.length > 0) return bytes;
      if (this.#cutter.held === 0) return undefined;
    }
    const isOpen = await this.#reconnect(cause ?? new Error("the answer ended in the middle of an event"));
    return isOpen ? NOTHING : undefined;
  }

  /** A chunk, nothing at an end in order, or why there is none. */
  async #read(): Promise<{ chunk?: Uint8Array | undefined; cause?: unknown }> {
    const { format, silenceMaxMs } = this.#plan;
    // NDJSON has no sign of life between its lines.
    const timer = format === "sse" ? this.#interruptAfter(silenceMaxMs) : undefined;
    try {
      const read = await this.#reader?.read();
      // A body that is cancelled ends in order for its reader.
      return this.#interruption === undefined ? { chunk: read?.value } : { cause: this.#interruption };
    } catch (error) {
      return { cause: this.#interruption ?? error };
    } finally {
      clearTimeout(timer);
    }
  }

  /** Goes on from the last boundary: true with a body to read, false when everything was received. */
  async #reconnect(cause: unknown): Promise<boolean> {
    this.#cutter.rewind();
    this.#drop(cause);
    let leastMs = 0;
    for (;;) {
      // An interruption is no failure of the server's.
      const isInterrupted = this.#interruption !== undefined && !isOffline();
      if (!isInterrupted && !(await this.#backoff.wait(this.#life.signal, leastMs))) throw cause;
      this.#interruption = undefined;
      const response = await this.#ask(cause);
      this.#life.signal.throwIfAborted();
      if (response?.status === 204) return false;
      if (response?.ok && formatOf(response.headers.get("content-type")) === this.#plan.format) {
        this.#reader = response.body?.getReader();
        return true;
      }
      leastMs = retryAfterMs(response?.headers.get("retry-after") ?? null);
      if (response === undefined) continue;
      discard(response);
      if (isFinal(response.status)) throw new ResumeError(this.#plan.stream, response.status, cause);
    }
  }

  /** One request to go on; undefined when no answer came. */
  async #ask(cause: unknown): Promise<Response | undefined> {
    const { send, init, onResume, silenceMaxMs } = this.#plan;
    const { stream, headers, lastEventId } = this.#position();
    this.#attempt += 1;
    onResume?.({ stream: this.#plan.stream.href, attempt: this.#attempt, lastEventId, cause });
    this.#request = new AbortController();
    const timer = this.#interruptAfter(silenceMaxMs);
    try {
      return await send(stream, { ...init, headers, cache: "no-store", redirect: "error", signal: this.#request.signal });
    } catch {
      return undefined;
    } finally {
      clearTimeout(timer);
      this.#request = undefined;
    }
  }

  /** Where to go on. */
  #position(): { stream: URL; headers: Headers; lastEventId: string } {
    const stream = new URL(this.#plan.stream);
    const headers = new Headers(this.#plan.headers);
    let lastEventId = "";
    if (this.#cutter instanceof LineCutter) {
      const { lines } = this.#cutter;
      const start = Number(stream.searchParams.get(STARTING_AFTER) ?? -1);
      if (lines > 0) stream.searchParams.set(STARTING_AFTER, String(start + lines));
    } else if (this.#cutter.lastEventId !== "") {
      lastEventId = this.#cutter.lastEventId;
      headers.set("last-event-id", lastEventId);
      for (const parameter of START_PARAMETERS) stream.searchParams.delete(parameter);
    }
    return { stream, headers, lastEventId };
  }

  #interruptAfter(ms: number): ReturnType<typeof setTimeout> | undefined {
    if (ms > TIMER_MAX_MS) return undefined;
    return setTimeout(() => this.#interrupt(new Error(`nothing has come for ${ms} ms`)), ms);
  }

  #interrupt(interruption: Error): void {
    this.#interruption = interruption;
    this.#drop(interruption);
  }

  /** Lets go of the connection. */
  #drop(reason: unknown): void {
    this.#request?.abort(reason);
    this.#reader?.cancel(reason).catch(() => {});
  }

  #close(): void {
    for (const stop of this.#stopListening) stop();
    this.#stopListening = [];
  }
}

/** Whether asking again would be answered the same. */
function isFinal(status: number): boolean {
  return status >= 400 && status < 500 && !TRY_AGAIN.has(status);
}

/** A body that nobody reads would keep its connection. */
function discard(response: Response): void {
  response.body?.cancel().catch(() => {});
}

export const STARTING_AFTER = "starting_after";
/** Query parameters that say where a viewer starts. */
export const START_PARAMETERS = [STARTING_AFTER, "lastEventId", "snapshot"];
const NOTHING = new Uint8Array(0);
const NDJSON_TYPES = /^application\/(x-)?(ndjson|jsonl|jsonlines)$/;
const TRY_AGAIN = new Set([408, 425, 429]);
/** Longer timers fire at once. */
const TIMER_MAX_MS = 2 ** 31 - 1;
const REFUSALS: Record<number, string> = {
  404: "the gateway doesn't know the stream, or not for these credentials",
  410: "the gateway no longer has the part that is missing",
};
