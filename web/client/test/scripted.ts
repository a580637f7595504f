/**
 * A server that does what a test tells it, over HTTP, so that a browser can tell it too.
 *
 * {@link ScriptedServer} serves `/script/*` by the answers that came on `/control/*`, the conformance cases, and the
 * pages and scripts of browser tests.
 */

import { readFile, readdir } from "node:fs/promises";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import type { Duplex } from "node:stream";

import type { Answer, Seen } from "./suite/harness.js";

interface Scripted {
  answers: Answer[];
  seen: Seen[];
  open: Set<ServerResponse>;
}

export class ScriptedServer {
  readonly port: number;
  /** What `/page/{name}` and `/script.js` and the like serve, by path. */
  readonly files = new Map<string, { type: string; body: string | Uint8Array }>();
  /** The server that `/proxy/{name}/` stands in front of. */
  upstream = "";
  /** Whose answers are held back until they end. */
  #buffered = new Set<string>();
  #tunnels = new Set<Duplex>();
  #server: Server;
  #scripts = new Map<string, Scripted>();

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on("upgrade", (request, socket, head) => this.#tunnel(request, socket, head));
    server.on("request", (request, response) => void this.#serve(request, response));
  }

  static async start(): Promise<ScriptedServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new ScriptedServer(server);
  }

  /** How many WebSockets are open through it. */
  get tunnels(): number {
    return [...this.#tunnels].filter((socket) => !socket.destroyed).length;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  stop(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A request that finds its connection gone is sent again by some platforms themselves: each has a fresh one.
    response.shouldKeepAlive = false;
    let body = "";
    for await (const part of request.setEncoding("utf8")) body += part;
    const { pathname } = new URL(request.url ?? "/", this.url);
    const [, kind = "", ...rest] = pathname.split("/");
    const file = kind === "dist" ? await built(rest.join("/")) : this.files.get(pathname);
    if (file) response.writeHead(200, { "content-type": file.type }).end(file.body);
    else if (pathname === "/vectors") response.end(JSON.stringify(await vectors()));
    else if (kind === "script") this.#answer(rest.join("/"), request, body, response);
    else if (kind === "control") response.end(this.#control(rest[0] ?? "", rest.slice(1).join("/"), body));
    else if (kind === "cut") await this.#proxy("", rest.join("/"), request, response);
    else if (pathname === "/cutall") {
      for (const socket of this.#tunnels) socket.destroy();
      response.end();
    } else if (kind === "proxy") await this.#proxy(rest[0] ?? "", rest.slice(1).join("/"), request, response);
    else if (kind === "buffering") {
      if (rest[0] === "on") this.#buffered.add(rest[1] ?? "");
      else this.#buffered.delete(rest[1] ?? "");
      response.end();
    } else response.writeHead(404).end();
  }

  /** Passes a WebSocket below `/cut/` on, byte by byte. */
  #tunnel(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { hostname, port, host } = new URL(this.upstream);
    const upstream = connect(Number(port), hostname);
    const fields = Object.entries({ ...request.headers, host, origin: this.upstream });
    upstream.write(`GET ${request.url?.replace("/cut", "")} HTTP/1.1\r\n`);
    upstream.write(`${fields.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`);
    upstream.write(head);
    upstream.pipe(socket).pipe(upstream);
    this.#tunnels.add(socket);
    for (const [one, other] of [[socket, upstream], [upstream, socket]] as const) {
      // A half of a WebSocket is none.
      for (const event of ["error", "end", "close"]) one.on(event, () => other.destroy());
    }
  }

  /** Passes a GET on. Of a name that is buffered, not even the head goes on before the body has ended. */
  async #proxy(name: string, path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { search } = new URL(request.url ?? "", this.url);
    const headers = Object.entries(request.headers).filter(([name]) => ["accept", "last-event-id"].includes(name));
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    const isBuffered = this.#buffered.has(name);
    try {
      const init = { headers: { ...Object.fromEntries(headers), "accept-encoding": "identity" } as Record<string, string>, signal: gone.signal };
      const answer = await fetch(`${this.upstream}/${path}${search}`, init);
      const chunks: Uint8Array[] = [];
      const head = () => response.writeHead(answer.status, Object.fromEntries(answer.headers)).flushHeaders();
      if (!isBuffered) head();
      for await (const chunk of answer.body ?? []) {
        if (isBuffered) chunks.push(chunk);
        else response.write(chunk);
      }
      if (isBuffered) head();
      response.end(Buffer.concat(chunks));
    } catch {
      response.destroy();
    }
  }

  #control(action: string, id: string, body: string): string {
    const script = this.#script(id);
    if (action === "answers") script.answers = JSON.parse(body);
    if (action === "write") for (const response of script.open) response.write(body);
    if (action === "end") for (const response of script.open) response.end();
    return JSON.stringify({ seen: script.seen, open: script.open.size });
  }

  #answer(id: string, request: IncomingMessage, body: string, response: ServerResponse): void {
    const script = this.#script(id);
    const { method = "", url = "", headers } = request;
    // A page of another origin asks first.
    const allowed = {
      "access-control-allow-origin": headers.origin ?? "*",
      "access-control-allow-headers": "last-event-id, authorization, x-own",
      "access-control-allow-credentials": "true",
      "access-control-expose-headers": "longwave-cursor",
    };
    if (method === "OPTIONS") return void response.writeHead(204, allowed).end();
    script.seen.push({ method, url, headers: headers as Record<string, string>, body });
    const answer = (script.answers.length > 1 ? script.answers.shift() : script.answers[0]) ?? {};
    if (answer.head === "broken") return void request.socket.end("broken\r\n\r\n");
    // Node takes the reset of a connection that is to be closed for the end of its body.
    response.shouldKeepAlive = answer.then === "reset";
    script.open.add(response);
    response.on("close", () => script.open.delete(response));
    if (answer.head === "never") return;
    response.writeHead(answer.status ?? 200, { ...allowed, "content-type": "text/event-stream", ...answer.headers });
    response.flushHeaders();
    for (const chunk of answer.chunks ?? []) response.write(chunk);
    // What has no body is over with its head; left open, it would hold up the connection's next request.
    if (answer.then === "end" || answer.status === 204) response.end();
    // Later than what was written, which the reset would overtake.
    if (answer.then === "reset") setTimeout(() => request.socket.resetAndDestroy(), RESET_AFTER_MS);
  }

  #script(id: string): Scripted {
    let script = this.#scripts.get(id);
    if (!script) this.#scripts.set(id, (script = { answers: [], seen: [], open: new Set() }));
    return script;
  }
}

const RESET_AFTER_MS = 50;

/** The package as it is published. */
async function built(name: string): Promise<{ type: string; body: Uint8Array }> {
  return { type: "text/javascript", body: await readFile(new URL(`../dist/${name}`, import.meta.url)) };
}

async function vectors(): Promise<Record<string, unknown[]>> {
  const folder = new URL("../../../conformance/sse/", import.meta.url);
  const files: Record<string, unknown[]> = {};
  for (const name of await readdir(folder)) {
    if (name.endsWith(".json")) files[name] = JSON.parse(await readFile(new URL(name, folder), "utf8")).cases;
  }
  return files;
}
