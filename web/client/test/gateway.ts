/**
 * An in-process gateway that records one answer and serves it by the contract, with the faults that a test asks for.
 *
 * {@link FakeGateway} is what tests hold. It proxies nothing: what upstream would have answered is given to it.
 */

import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** What upstream answers: the blocks of an event stream, or lines. */
export interface Answer {
  readonly contentType: string;
  readonly blocks: readonly Uint8Array[];
}

/** What happens to one request, in the order they come. */
export interface Fault {
  /** The connection ends before there is a head. */
  refuse?: true;
  /** The head comes, then so many bytes, then the connection ends. */
  cutAfter?: number;
  /** The head comes, then so many bytes, then nothing. */
  hangAfter?: number;
  /** The body ends in order, though early, after so many bytes. */
  endAfter?: number;
  /** Another answer altogether. */
  status?: number;
  headers?: Record<string, string>;
  /** Written in front of the body: what a gateway sends in silence. */
  heartbeats?: number;
  /** So many bytes a write. */
  piece?: number;
}

/** What came. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

export class FakeGateway {
  readonly seen: Seen[] = [];
  /** Bodies that were given up by the reader, or cut. */
  closed = 0;
  faults: Fault[] = [];
  /** Events up to here have been forgotten by retention. */
  readonly url: string;
  /** How often upstream was called. */
  generations = 0;
  #answer: Answer;
  #server: Server;
  #streams = new Map<string, Answer>();
  #keys = new Map<string, { id: string; body: string }>();

  private constructor(server: Server, answer: Answer) {
    this.#server = server;
    this.#answer = answer;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on("request", (request, response) => void this.#serve(request, response));
  }

  static async start(answer: Answer): Promise<FakeGateway> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new FakeGateway(server, answer);
  }

  stop(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  /** Forgets what it has recorded. */
  forget(): void {
    this.#streams.clear();
  }

  count(method: string): number {
    return this.seen.filter((request) => request.method === method).length;
  }

  /** What a reader receives who is never cut off. */
  get whole(): Buffer {
    return this.bytes([...this.#streams.keys()].at(-1) ?? "");
  }

  bytes(id: string, from = 0): Buffer {
    const answer = this.#streams.get(id) ?? this.#answer;
    const blocks = answer.blocks.map((block, index) =>
      answer.contentType.startsWith("text/") ? withId(block, `${id}:${seqOf(index)}`) : block,
    );
    return Buffer.concat(blocks.slice(from));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = "";
    for await (const part of request.setEncoding("utf8")) body += part;
    const url = new URL(request.url ?? "/", this.url);
    this.seen.push({ method: request.method ?? "", url: url.pathname + url.search, headers: request.headers, body });
    const fault = this.faults.shift() ?? {};
    if (fault.refuse) return void response.socket?.destroy();
    if (fault.status !== undefined) {
      return void response.writeHead(fault.status, fault.headers).end("{}");
    }
    if (request.method === "DELETE") return void response.writeHead(200).end("{}");
    if (request.method === "GET") return this.#read(request, url, response, fault);

    const key = String(request.headers["idempotency-key"]);
    const known = this.#keys.get(key);
    if (known !== undefined && known.body !== body) return void response.writeHead(422).end();
    const id = known?.id ?? `stream-${String(this.#keys.size + 1).padStart(15, "0")}`;
    if (known === undefined) {
      this.generations += 1;
      this.#keys.set(key, { id, body });
      this.#streams.set(id, this.#answer);
    }
    await this.#send(response, id, 0, fault);
  }

  async #read(request: IncomingMessage, url: URL, response: ServerResponse, fault: Fault): Promise<void> {
    const id = url.pathname.replace("/streams/", "");
    const answer = this.#streams.get(id);
    if (answer === undefined) return void response.writeHead(404).end('{"code":"stream-not-found"}');
    const lastEventId = request.headers["last-event-id"];
    const after = url.searchParams.get("starting_after");
    let from = 0;
    if (typeof lastEventId === "string") {
      from = answer.blocks.findIndex((_, index) => lastEventId === `${id}:${seqOf(index)}`) + 1;
      if (from === 0) return void response.writeHead(400).end();
    } else if (after !== null) {
      from = Number(after) + 1;
    }
    if (from >= answer.blocks.length) return void response.writeHead(204, { "longwave-end": "done" }).end();
    await this.#send(response, id, from, fault);
  }

  async #send(response: ServerResponse, id: string, from: number, fault: Fault): Promise<void> {
    const path = `/streams/${id}`;
    response.on("close", () => (this.closed += 1));
    response.writeHead(200, {
      "content-type": (this.#streams.get(id) ?? this.#answer).contentType,
      "longwave-stream": path,
      location: path,
      "x-request-id": "from upstream",
      ...fault.headers,
    });
    response.flushHeaders();
    const whole = Buffer.concat([Buffer.from(":\n".repeat(fault.heartbeats ?? 0)), this.bytes(id, from)]);
    const bytes = whole.subarray(0, fault.cutAfter ?? fault.hangAfter ?? fault.endAfter ?? whole.length);
    const piece = fault.piece ?? Math.max(bytes.length, 1);
    for (let at = 0; at < bytes.length && !response.destroyed; at += piece) {
      await new Promise((resolve) => response.write(bytes.subarray(at, at + piece), resolve));
    }
    if (fault.hangAfter !== undefined) return;
    if (fault.cutAfter === undefined) return void response.end();
    response.socket?.destroySoon();
  }
}

/** An answer of server-sent events. */
export function events(blocks: readonly string[]): Answer {
  return { contentType: "text/event-stream; charset=utf-8", blocks: blocks.map((block) => Buffer.from(block)) };
}

/** An answer of lines. */
export function lines(documents: readonly unknown[]): Answer {
  const blocks = documents.map((document) => Buffer.from(`${JSON.stringify(document)}\n`));
  return { contentType: "application/x-ndjson", blocks };
}

/** Waits until a state is reached. What never comes ends with the test's own limit. */
export async function until(state: () => boolean): Promise<void> {
  while (!state()) await sleep(5);
}

/** Positions in the log are not dense. */
function seqOf(index: number): number {
  return index * 3 + 2;
}

/** A block with one more line in front of the blank line that ends it, with its own line end. */
function withId(block: Uint8Array, id: string): Buffer {
  const text = Buffer.from(block).toString();
  const [, end] = /(\r\n|\n|\r)$/.exec(text) ?? [];
  if (end === undefined) throw new Error(`a block without an end: ${JSON.stringify(text)}`);
  return Buffer.from(`${text.slice(0, -end.length)}id: ${id}${end}${end}`);
}
