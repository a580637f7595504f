/**
 * `longwave/fetch`: a `fetch` whose streamed answers survive broken connections, for everything that accepts a `fetch`.
 *
 * {@link resumingFetch} sends the request and recognises a recorded answer; `resume.ts` is its body. Behind a server
 * that is no Longwave gateway it is the platform's `fetch` with an `Idempotency-Key`.
 */

import { Backoff } from "./backoff.js";
import { LAST_EVENT_ID, type Resume, START_PARAMETERS, STARTING_AFTER, formatOf, resumingBody } from "./resume.js";

export { type Resume, ResumeError } from "./resume.js";

export interface ResumingFetchOptions {
  /** What sends the requests. Default: the platform's `fetch`, looked up at each call. */
  fetch?: typeof fetch;
  /**
   * What it means that the caller aborts, or cancels the body, before the answer has ended: `"leave"` (default) leaves
   * it to the gateway's policy, as a broken connection does; `"cancel"` tells the gateway to stop the generation, for
   * all who watch it.
   */
  onCancel?: "leave" | "cancel";
  /** Called before each try to go on with an answer that broke off. An error that it throws ends the answer. */
  onResume?: (resume: Resume) => void;
  /** How often a POST is sent again when no answer came. Default 3. */
  requestRetriesMax?: number;
  /** How many tries in a row to go on with an answer may fail; the next byte starts the count anew. Default 8. */
  resumeRetriesMax?: number;
  /**
   * How long an event stream may be silent before its connection is taken for dead and another is opened. Longer than
   * the gateway's heartbeat, else quiet streams reconnect for nothing. Default 45,000; `Infinity`: for ever.
   */
  silenceMaxMs?: number;
}

/**
 * A `fetch` that
 * - adds an `Idempotency-Key` to each POST that has none, and sends it again under the same key when no answer came, so
 *   that it is answered once however often it is sent;
 * - goes on with a streamed answer whose connection breaks, from the last whole event, in the same body.
 *
 * A body that ends without an error is whole. One that can't be gone on with fails with what broke its connection, or
 * with a {@link ResumeError} where the gateway says why. The stream's URL is the answer's `Longwave-Stream` header.
 */
export function resumingFetch({
  fetch: send = (input, init) => globalThis.fetch(input, init),
  onCancel = "leave",
  onResume,
  requestRetriesMax = REQUEST_RETRIES_MAX,
  resumeRetriesMax: retriesMax = RESUME_RETRIES_MAX,
  silenceMaxMs = SILENCE_MAX_MS,
}: ResumingFetchOptions = {}): typeof fetch {
  return async (input, init) => {
    const request = describe(input, init);
    if (request === undefined) return send(input, init);
    // Not what a `Request` derives from it: Node lets go of that one's tie to the caller's.
    const signal = init?.signal ?? (input instanceof Request ? input : request).signal;
    const response =
      request.method === "POST"
        ? await post(send, input, init, request.headers, signal, requestRetriesMax)
        : await send(input, init);
    const { body } = response;
    const format = formatOf(response);
    const stream = streamOf(response, request);
    // Some that call themselves `fetch` have other bodies.
    if (!response.ok || !stream || !format || typeof body?.getReader !== "function") return response;

    const { credentials, mode, referrerPolicy } = request;
    const headers = new Headers(request.headers);
    for (const name of REQUEST_ONLY_HEADERS) headers.delete(name);
    headers.set("accept", format === "sse" ? "text/event-stream" : "application/x-ndjson");
    headers.set(ACCEPT_ENCODING, "identity");
    // Lines have no ids to go by, and their number is known only where they are counted from.
    if (format === "ndjson" && (headers.has(LAST_EVENT_ID) || COUNTLESS.some((name) => stream.searchParams.has(name)))) {
      return response;
    }
    const plan = {
      send,
      stream,
      init: { credentials, mode, referrerPolicy, ...init, method: "GET", body: null, signal: null, headers },
      signal,
      format,
      retriesMax,
      silenceMaxMs,
      onCancel,
      onResume,
    };
    return dress(response, resumingBody(response, body, plan));
  };
}

/**
 * What is called for, without its body. Undefined where that can't be told, such as for another implementation's
 * `Request`: whatever sends it will say what it thinks of it.
 */
function describe(input: RequestInfo | URL, init: RequestInit | undefined): Request | undefined {
  try {
    return new Request(input instanceof Request ? input.clone() : input, { ...init, ...(init?.body && { body: NO_BODY }) });
  } catch {
    return undefined;
  }
}

/** Sends a POST until an answer comes, under one key. */
async function post(
  send: typeof fetch,
  input: RequestInfo | URL,
  init: RequestInit | undefined,
  headers: Headers,
  signal: AbortSignal,
  retriesMax: number,
): Promise<Response> {
  if (!headers.has(KEY)) headers.set(KEY, crypto.randomUUID());
  // Compression holds events back. Browsers ignore this, and decode what comes.
  if (!headers.has(ACCEPT_ENCODING)) headers.set(ACCEPT_ENCODING, "identity");
  let body = init?.body;
  if (body instanceof FormData) {
    // Each serialisation has another boundary, and a key with another body is refused.
    const form = new Response(body);
    headers.set("content-type", form.headers.get("content-type") ?? "");
    body = await form.blob();
  }
  // Streams, of the platform's and of Node's, can't be sent again.
  const isSpentOnce = body instanceof Object && ("getReader" in body || Symbol.asyncIterator in body);
  const backoff = new Backoff(isSpentOnce ? 0 : retriesMax);
  for (;;) {
    try {
      return await send(input instanceof Request ? input.clone() : input, { ...init, headers, ...(body && { body }) });
    } catch (error) {
      if (signal.aborted || !(await backoff.wait(signal))) throw error;
    }
  }
}

/** Where an answer goes on; undefined for one that nobody recorded. */
function streamOf(response: Response, request: Request): URL | undefined {
  const path = response.headers.get("longwave-stream");
  const { origin, searchParams } = new URL(request.url);
  // Credentials go nowhere but where the caller sent them: what is named is a path there, whatever it looks like.
  if (!path?.startsWith("/") || new URL(response.url || origin).origin !== origin) return undefined;
  const stream = new URL(origin + path);
  for (const name of [...START_PARAMETERS, "token"]) {
    const value = searchParams.get(name);
    if (value !== null) stream.searchParams.set(name, value);
  }
  return stream;
}

/** An answer with another body. */
function dress(response: Response, body: ReadableStream<Uint8Array<ArrayBuffer>> | null): Response {
  const { url, redirected, type } = response;
  const dressed = new Response(body, response);
  return Object.defineProperties(dressed, {
    url: { value: url },
    redirected: { value: redirected },
    type: { value: type },
    clone: { value: () => dress(response, Response.prototype.clone.call(dressed).body) },
  });
}

const KEY = "idempotency-key";
const ACCEPT_ENCODING = "accept-encoding";
/** What a request says of its own body, or of its own answer. */
const REQUEST_ONLY_HEADERS = [KEY, "content-type", "content-length", "longwave-disconnect"];
const COUNTLESS = START_PARAMETERS.filter((name) => name !== STARTING_AFTER);
/** Unlike an empty string, it brings no `Content-Type`. */
const NO_BODY = new Uint8Array(0);
const REQUEST_RETRIES_MAX = 3;
const RESUME_RETRIES_MAX = 8;
const SILENCE_MAX_MS = 45_000;
