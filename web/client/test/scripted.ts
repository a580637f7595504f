/**
 * A server that does what a test tells it, over HTTP, so that a browser can tell it too.
 *
 * {@link ScriptedServer} serves `/script/*` by the answers that came on `/control/*`, the conformance cases, and the
 * pages and scripts of browser tests.
 */

import { readFile, readdir } from "node:fs/promises";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";

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
  #server: Server;
  #scripts = new Map<string, Scripted>();

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on("request", (request, response) => void this.#serve(request, response));
  }

  static async start(): Promise<ScriptedServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new ScriptedServer(server);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  stop(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = "";
    for await (const part of request.setEncoding("utf8")) body += part;
    const { pathname } = new URL(request.url ?? "/", this.url);
    const [, kind = "", ...rest] = pathname.split("/");
    const file = this.files.get(pathname);
    if (file) response.writeHead(200, { "content-type": file.type }).end(file.body);
    else if (pathname === "/vectors") response.end(JSON.stringify(await vectors()));
    else if (kind === "script") this.#answer(rest.join("/"), request, body, response);
    else if (kind === "control") response.end(this.#control(rest[0] ?? "", rest.slice(1).join("/"), body));
    else response.writeHead(404).end();
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
    if (answer.head === "reset") return void request.socket.resetAndDestroy();
    script.open.add(response);
    response.on("close", () => script.open.delete(response));
    if (answer.head === "never") return;
    response.writeHead(answer.status ?? 200, { ...allowed, "content-type": "text/event-stream", ...answer.headers });
    response.flushHeaders();
    for (const chunk of answer.chunks ?? []) response.write(chunk);
    if (answer.then === "end") response.end();
    // Behind what was written: a reset that overtakes it would take it back.
    if (answer.then === "reset") response.write("", () => setTimeout(() => request.socket.destroy(), 20));
  }

  #script(id: string): Scripted {
    let script = this.#scripts.get(id);
    if (!script) this.#scripts.set(id, (script = { answers: [], seen: [], open: new Set() }));
    return script;
  }
}

async function vectors(): Promise<Record<string, unknown[]>> {
  const folder = new URL("../../../conformance/sse/", import.meta.url);
  const files: Record<string, unknown[]> = {};
  for (const name of await readdir(folder)) {
    if (name.endsWith(".json")) files[name] = JSON.parse(await readFile(new URL(name, folder), "utf8")).cases;
  }
  return files;
}
