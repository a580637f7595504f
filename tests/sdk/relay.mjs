// A TCP relay between a client and the gateway that cuts connections where it is told to.
//
//     node relay.mjs --to http://127.0.0.1:4480
//
// It says `relay on http://…` when it is ready. Clients open a link, a port of its own with a plan of its own:
//
//     POST /links   {"at": "border", "cuts": 40, "seed": "7/openai-chat"}   → {"id", "url"}
//     GET /links/ID                                                         → what it did so far
//     DELETE /links/ID                                                      → the same, and the link is gone
//
// `at` says where the connections of the link are cut, one after the other, until `cuts` of them were:
//
//     border   exactly between events: the first between head and body, each other one behind the first event it carries
//     byte     anywhere in head or body, with one or two events in between
//     request  before there is an answer's head: refused, in the middle of the request, before the first byte, in the head
//     mixed    each connection by one of these
//
// It knows of HTTP only what separates head, body and events: CR LF CR LF, and an empty line or (NDJSON) a line end.

import http from "node:http";
import net from "node:net";
import { parseArgs } from "node:util";

import { Random } from "./random.mjs";

/** A port, the connections that came to it, and the plan by which they are cut. */
class Link {
  constructor(target, plan) {
    this.target = target;
    this.plan = plan;
    this.random = new Random(plan.seed);
    this.cuts = {};
    this.connections = 0;
    // How many connections in a row were cut without a whole event: nobody gets anywhere if that never ends.
    this.stalled = 0;
    this.sockets = new Set();
    this.server = net.createServer({ allowHalfOpen: true }, (client) => this.connect(client));
  }

  async listen() {
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    this.port = this.server.address().port;
  }

  close() {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }

  report() {
    const faults = Object.values(this.cuts).reduce((sum, count) => sum + count, 0);
    return { connections: this.connections, faults, cuts: this.cuts };
  }

  connect(client) {
    this.connections += 1;
    const cut = this.nextCut();
    if (cut.place === "refused") {
      this.sockets.add(client);
      client.on("close", () => this.sockets.delete(client));
      this.count("refused", 0);
      client.on("error", () => {});
      client.resetAndDestroy();
      return;
    }
    const server = net.connect({ ...this.target, allowHalfOpen: true });
    for (const [socket, other] of [[client, server], [server, client]]) {
      this.sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("close", () => {
        this.sockets.delete(socket);
        other.destroy();
      });
      socket.on("error", () => other.destroy());
      socket.on("drain", () => other.resume());
    }
    const end = (place, events) => {
      this.count(place, events);
      server.destroy();
      if (this.random.below(2) === 0) client.resetAndDestroy();
      else client.destroySoon();
    };
    this.upward(client, server, cut, end);
    this.downward(client, server, cut, end);
  }

  upward(client, server, cut, end) {
    let passed = 0;
    client.on("end", () => server.end());
    client.on("data", (chunk) => {
      if (server.destroyed) return;
      if (cut.place === "in the request" && passed + chunk.length > cut.bytes) {
        client.pause();
        client.removeAllListeners("data");
        server.write(chunk.subarray(0, cut.bytes - passed), () => end(cut.place, 0));
        return;
      }
      passed += chunk.length;
      if (!server.write(chunk)) client.pause();
    });
  }

  downward(client, server, cut, end) {
    const meter = new Meter(cut);
    server.on("end", () => client.end());
    server.on("data", (chunk) => {
      if (client.destroyed) return;
      const at = meter.placeOfCut(chunk);
      if (at === undefined) {
        if (!client.write(chunk)) server.pause();
        return;
      }
      server.pause();
      server.removeAllListeners("data");
      server.removeAllListeners("end");
      // Whole in the system's hands before the connection ends, so that it is cut where it is meant to be.
      client.write(chunk.subarray(0, at), () => end(cut.place, meter.borders));
    });
  }

  count(place, events) {
    this.cuts[place] = (this.cuts[place] ?? 0) + 1;
    this.stalled = events > 0 ? 0 : this.stalled + 1;
  }

  /** Where the next connection is to be cut: `{place, borders, bytes}`; place `none` lets it live. */
  nextCut() {
    if (this.report().faults >= this.plan.cuts) return { place: "none" };
    const mustMove = this.stalled >= STALLED_MAX;
    const at = this.plan.at === "mixed" ? this.random.pick(["border", "byte", "request"]) : this.plan.at;
    if (at === "border") {
      return { place: "border", borders: this.connections === 1 ? 0 : 1, bytes: 0 };
    }
    if (at === "byte" || mustMove) {
      if (!mustMove && this.random.below(8) === 0) return this.inTheHead();
      const borders = mustMove ? 1 : this.random.below(3);
      return { place: "byte", borders, bytes: 1 + this.random.below(EVENT_BYTES) };
    }
    switch (this.random.below(4)) {
      case 0: return { place: "refused" };
      case 1: return { place: "in the request", bytes: 1 + this.random.below(REQUEST_HEAD_BYTES) };
      case 2: return { place: "before the head" };
      default: return this.inTheHead();
    }
  }

  inTheHead() {
    return { place: "in the head", bytes: 1 + this.random.below(HEAD_BYTES) };
  }
}

/** Follows what comes down a connection, and finds the byte before which it is to be cut. */
class Meter {
  constructor(cut) {
    this.cut = cut;
    this.borders = 0;
    this.inBody = false;
    this.separator = undefined;
    // What may be the beginning of a separator whose rest is yet to come.
    this.tail = Buffer.alloc(0);
    this.head = "";
    this.bytesLeft = cut.bytes;
  }

  /** How many bytes of this chunk still pass; `undefined` for all, and the connection lives on. */
  placeOfCut(chunk) {
    switch (this.cut.place) {
      case "before the head": return 0;
      case "in the head": return chunk.length > this.bytesLeft ? this.bytesLeft : this.spend(chunk.length);
      case "border":
      case "byte": return this.placeInBody(chunk);
      default: return undefined;
    }
  }

  placeInBody(chunk) {
    let position = 0;
    if (!this.inBody) {
      position = this.endOfHead(chunk);
      if (position === undefined) return undefined;
    }
    while (this.borders < this.cut.borders) {
      const end = this.endOfEvent(chunk, position);
      if (end === undefined) return undefined;
      position = end;
    }
    if (chunk.length - position < this.bytesLeft) return this.spend(chunk.length - position);
    return position + this.bytesLeft;
  }

  spend(bytes) {
    this.bytesLeft -= bytes;
    return undefined;
  }

  endOfHead(chunk) {
    const before = this.head.length;
    this.head += chunk.toString("latin1");
    const end = this.head.indexOf("\r\n\r\n");
    if (end < 0) return undefined;
    this.inBody = true;
    const isLines = /content-type:[^\r]*(ndjson|jsonl)/i.test(this.head.slice(0, end));
    this.separator = isLines ? /\}\n/g : /\n\n|(?<!\r\n0)\r\n\r\n/g;
    return end + 4 - before;
  }

  endOfEvent(chunk, position) {
    const kept = this.tail.toString("latin1");
    const text = kept + chunk.toString("latin1", position);
    this.separator.lastIndex = 0;
    const found = this.separator.exec(text);
    if (!found) {
      this.tail = Buffer.from(text.slice(-3), "latin1");
      return undefined;
    }
    this.tail = Buffer.alloc(0);
    this.borders += 1;
    return position + found.index + found[0].length - kept.length;
  }
}

async function answer(request, response, links, target) {
  const say = (status, value) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(value));
  };
  const [, collection, id] = new URL(request.url, "http://relay").pathname.split("/");
  if (collection !== "links") return say(404, { error: "there are only /links" });
  if (request.method === "POST") {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const plan = JSON.parse(Buffer.concat(chunks).toString());
    if (!PLACES.includes(plan.at) || !Number.isInteger(plan.cuts)) return say(400, { error: "at and cuts are needed" });
    const link = new Link(target, plan);
    await link.listen();
    links.set(String(link.port), link);
    return say(201, { id: String(link.port), url: `http://127.0.0.1:${link.port}` });
  }
  const link = links.get(id);
  if (!link) return say(404, { error: `there is no link ${id}` });
  if (request.method === "DELETE") {
    link.close();
    links.delete(id);
  }
  return say(200, link.report());
}

async function main() {
  const { values } = parseArgs({ options: { to: { type: "string" } } });
  const to = new URL(values.to);
  const target = { host: to.hostname, port: Number(to.port) };
  const links = new Map();
  const control = http.createServer((request, response) => {
    answer(request, response, links, target).catch((error) => {
      response.writeHead(500);
      response.end(String(error));
    });
  });
  control.listen(0, "127.0.0.1", () => console.log(`relay on http://127.0.0.1:${control.address().port}`));
}

const PLACES = ["border", "byte", "request", "mixed"];
/** So many connections in a row may end without a whole event; clients give up after more. */
const STALLED_MAX = 2;
/** About two events, so that cuts come inside of events and across them. */
const EVENT_BYTES = 400;
/** Less than any answer's head. */
const HEAD_BYTES = 150;
/** Less than the head of any request of an SDK. */
const REQUEST_HEAD_BYTES = 200;

await main();
