/**
 * `longwave/fetch`: a `fetch` whose streamed answers survive broken connections, for everything that accepts a `fetch`.
 *
 * {@link resumingFetch} sends the request and recognises a recorded answer; `resume.ts` is its body. Behind a server
 * that is no Longwave gateway it is the platform's `fetch` with an `Idempotency-Key`.
 */

import { Backoff } from "./backoff.js";
import { type Plan, type Resume, START_PARAMETERS, STARTING_AFTER, formatOf, resumingBody } from "./resume.js";

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
export function resumingFetch(options: ResumingFetchOptions = {}): typeof fetch {
  const send: typeof fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
  return async (input, init) => {
    const call = describe(input, init);
    if (call === undefined) return send(input, init);
    const response =
      call.method === "POST"
        ? await post(send, call, options.requestRetriesMax ?? REQUEST_RETRIES_MAX)
        : await send(input, init);
    const plan = planFor(response, call, send, options);
    return plan === undefined ? response : dress(response, resumingBody(response, plan));
  };
}

/** What was called for. */
interface Call {
  readonly input: RequestInfo | URL;
  readonly init: RequestInit;
  readonly request: Request | undefined;
  readonly url: URL;
  readonly method: string;
  readonly headers: Headers;
  readonly signal: AbortSignal | undefined;
}

/** Undefined for what is no URL and no `Request` of this platform's: its `fetch` says what it thinks of it. */
function describe(input: RequestInfo | URL, init: RequestInit = {}): Call | undefined {
  const request = input instanceof Request ? input : undefined;
  // Only browsers resolve what is relative.
  const base = globalThis.location?.href;
  const address = request?.url ?? String(input);
  if (!URL.canParse(address, base)) return undefined;
  return {
    input,
    init,
    request,
    url: new URL(address, base),
    method: (init.method ?? request?.method ?? "GET").toUpperCase(),
    headers: new Headers(init.headers ?? request?.headers),
    signal: init.signal ?? request?.signal ?? undefined,
  };
}

/** Sends a POST until an answer comes, under one key. */
async function post(send: typeof fetch, call: Call, retriesMax: number): Promise<Response> {
  const { headers, request, signal } = call;
  const init = { ...call.init, headers };
  if (!headers.has(KEY)) headers.set(KEY, crypto.randomUUID());
  // Compression holds events back. Browsers ignore this, and decode what comes.
  if (!headers.has(ACCEPT_ENCODING)) headers.set(ACCEPT_ENCODING, "identity");
  if (init.body instanceof FormData) {
    // Each serialisation has another boundary, and a key with another body is refused.
    const form = new Response(init.body);
    headers.set("content-type", form.headers.get("content-type") ?? "");
    init.body = await form.blob();
  }
  const backoff = new Backoff(isSpentOnce(init.body) ? 0 : retriesMax);
  for (;;) {
    try {
      return await send(request?.clone() ?? call.input, init);
    } catch (error) {
      if (signal?.aborted || !(await backoff.wait(signal))) throw error;
    }
  }
}

/** Streams, of the platform's and of Node's, can't be sent again. */
function isSpentOnce(body: BodyInit | null | undefined): boolean {
  return typeof body === "object" && body !== null && ("getReader" in body || Symbol.asyncIterator in body);
}

/** How to go on with an answer; undefined for one that nobody recorded, or that has no bytes to wait for. */
function planFor(response: Response, call: Call, send: typeof fetch, options: ResumingFetchOptions): Plan | undefined {
  const path = response.headers.get("longwave-stream");
  const format = formatOf(response.headers.get("content-type"));
  if (path === null || format === undefined || !response.ok) return undefined;
  // Some that call themselves `fetch` have other bodies.
  if (typeof response.body?.getReader !== "function") return undefined;
  const { origin, searchParams } = call.url;
  const stream = URL.canParse(path, origin) ? new URL(path, origin) : undefined;
  // Credentials go nowhere but where the caller sent them.
  if (!path.startsWith("/") || stream?.origin !== origin) return undefined;
  if (response.url !== "" && new URL(response.url).origin !== origin) return undefined;

  for (const name of [...START_PARAMETERS, "token"]) {
    const value = searchParams.get(name);
    if (value !== null) stream.searchParams.set(name, value);
  }
  const headers = new Headers(call.headers);
  for (const name of REQUEST_ONLY_HEADERS) headers.delete(name);
  headers.set("accept", format === "sse" ? "text/event-stream" : "application/x-ndjson");
  headers.set(ACCEPT_ENCODING, "identity");
  if (format === "ndjson" && !countsLines(stream, headers)) return undefined;
  return {
    send,
    stream,
    init: initFor(call),
    headers,
    signal: call.signal,
    format,
    retriesMax: options.resumeRetriesMax ?? RESUME_RETRIES_MAX,
    silenceMaxMs: options.silenceMaxMs ?? SILENCE_MAX_MS,
    onCancel: options.onCancel ?? "leave",
    onResume: options.onResume,
  };
}

/** Whether the place of an answer's first line among all lines is known: they have no ids to go by. */
function countsLines({ searchParams }: URL, headers: Headers): boolean {
  const start = searchParams.get(STARTING_AFTER) ?? "0";
  const others = START_PARAMETERS.filter((name) => name !== STARTING_AFTER);
  return /^\d+$/.test(start) && !headers.has("last-event-id") && !others.some((name) => searchParams.has(name));
}

/** The caller's settings for requests, such as `credentials` or Node's `dispatcher`, for other requests. */
function initFor({ init, request }: Call): RequestInit {
  const { method, body, headers, signal, keepalive, integrity, ...rest } = init as RequestInit & { duplex?: "half" };
  delete rest.duplex;
  return request === undefined
    ? rest
    : { credentials: request.credentials, mode: request.mode, referrerPolicy: request.referrerPolicy, ...rest };
}

/** An answer with another body. */
function dress(response: Response, body: ReadableStream<Uint8Array<ArrayBuffer>> | null): Response {
  const { status, statusText, headers, url, redirected, type } = response;
  const dressed = new Response(body, { status, statusText, headers });
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
const REQUEST_ONLY_HEADERS = [
  KEY,
  "content-type",
  "content-length",
  "content-encoding",
  "transfer-encoding",
  "expect",
  "longwave-disconnect",
];
const REQUEST_RETRIES_MAX = 3;
const RESUME_RETRIES_MAX = 8;
const SILENCE_MAX_MS = 45_000;
