/**
 * The one place that is connected to servers for all tabs: it runs in a SharedWorker, or in the tab that leads.
 *
 * {@link Hub} follows each selector once, over as few WebSockets as can be, and passes events on to whoever follows it.
 * A WebSocket's subscriptions have a cursor each and come and go without touching each other: an event stream would have
 * to be opened again for each change, under one cursor for topics that begin at different places.
 */

import { Backoff } from "./backoff.js";
import { GAP, StreamError } from "./events.js";
import { pageOf } from "./poll.js";
import { type Delivery, type Envelope, SocketConnection, type Start, deliveryOf } from "./socket.js";

/** From a tab. `id` is the tab's own number for what it follows. */
export type ToHub =
  | { readonly op: "follow"; readonly id: number; readonly base: string; readonly selector: string; readonly start: Start }
  | { readonly op: "unfollow"; readonly id: number }
  /** So many events were dispatched. */
  | { readonly op: "took"; readonly id: number; readonly count: number }
  /** The lock of this name is held for as long as the tab lives. */
  | { readonly op: "hello"; readonly lock: string }
  | { readonly op: "bye" };

/** To a tab. */
export type FromHub = { readonly id: number } & (
  | { readonly opened: string }
  | { readonly delivery: Delivery }
  | { readonly lost: string }
  /** Why it is over; null where the topic has ended. */
  | { readonly over: string | null }
  /** The tab took too little for too long, and follows no more: it may follow again, from where it is. */
  | { readonly lapsed: true }
);

/** The hub's end of the way to a tab. */
export type Port = (message: FromHub) => void;

interface Follower {
  readonly port: Port;
  readonly id: number;
  /** Sent and not yet dispatched. */
  pending: number;
  /** What came in while pages of the past are fetched; undefined for one that is up to date. */
  held: FromHub[] | undefined;
  /** What pages brought, until the feed is past it. */
  readonly paged: Set<string>;
}

interface Feed {
  readonly base: string;
  readonly selector: string;
  readonly connection: SocketConnection;
  readonly followers: Set<Follower>;
  /** Where it is; empty while it is not followed. */
  cursor: string;
}

export class Hub {
  #feeds = new Map<string, Feed>();
  #connections = new Map<string, SocketConnection[]>();
  #ports = new Map<Port, Map<number, { feed: Feed; follower: Follower }>>();

  handle(port: Port, message: ToHub): void {
    const known = this.#ports.get(port)?.get("id" in message ? message.id : -1);
    if (message.op === "follow") this.#follow(port, message);
    else if (message.op === "bye") this.drop(port);
    else if (message.op === "hello") void globalThis.navigator?.locks?.request(message.lock, () => this.drop(port));
    else if (!known) return;
    else if (message.op === "unfollow") this.#unfollow(known.feed, known.follower);
    else known.follower.pending -= message.count;
  }

  /** The tab has gone. */
  drop(port: Port): void {
    for (const { feed, follower } of this.#ports.get(port)?.values() ?? []) this.#unfollow(feed, follower);
    this.#ports.delete(port);
  }

  close(): void {
    for (const connections of this.#connections.values()) for (const connection of connections) connection.close();
  }

  #follow(port: Port, { id, base, selector, start }: ToHub & { op: "follow" }): void {
    // A tab that is told of a new hub asks again for what that hub may know already, and serve.
    if (this.#ports.get(port)?.has(id)) return;
    const key = `${base} ${selector}`;
    let feed = this.#feeds.get(key);
    const isFirst = !feed;
    if (!feed) {
      feed = { base, selector, connection: this.#connection(base), followers: new Set(), cursor: "" };
      this.#feeds.set(key, feed);
      this.#subscribe(key, feed, start);
    }
    const isPast = !isFirst && Object.values(start).some((value) => value !== undefined && value !== "now");
    const follower: Follower = { port, id, pending: 0, held: isPast ? [] : undefined, paged: new Set() };
    feed.followers.add(follower);
    const known = this.#ports.get(port) ?? new Map();
    this.#ports.set(port, known.set(id, { feed, follower }));
    if (isPast) void this.#catchUp(feed, follower, start);
    else if (feed.cursor) port({ id, opened: feed.cursor });
  }

  #subscribe(key: string, feed: Feed, start: Start): void {
    const tell = (message: (follower: Follower) => FromHub) => {
      for (const follower of [...feed.followers]) this.#tell(feed, follower, message(follower));
    };
    feed.connection.subscribe(feed.selector, start, {
      opened: (cursor) => {
        feed.cursor = cursor;
        tell(({ id }) => ({ id, opened: cursor }));
      },
      delivered: (delivery) => {
        feed.cursor = delivery.parts.lastEventId;
        tell(({ id }) => ({ id, delivery }));
      },
      lost: ({ message }) => tell(({ id }) => ({ id, lost: message })),
      over: (error) => {
        this.#feeds.delete(key);
        tell(({ id }) => ({ id, over: error?.message ?? null }));
        this.#release(feed);
      },
    });
  }

  #tell(feed: Feed, follower: Follower, message: FromHub): void {
    if (follower.held) {
      follower.held.push(message);
      if (follower.held.length > PENDING_MAX) this.#lapse(feed, follower);
      return;
    }
    if ("delivery" in message) {
      if (follower.paged.delete(message.delivery.parts.lastEventId)) return;
      // The feed is past everything that pages brought.
      follower.paged.clear();
      if (follower.pending >= PENDING_MAX) return this.#lapse(feed, follower);
      follower.pending += 1;
    }
    follower.port(message);
  }

  /** A tab that is frozen must not fill the memory of those that are not. */
  #lapse(feed: Feed, follower: Follower): void {
    this.#unfollow(feed, follower);
    follower.port({ id: follower.id, lapsed: true });
  }

  /**
   * Brings a follower to where the feed is. The feed has everything behind its cursor, pages everything from the
   * follower's place to now; what both have is told from the pages, and left out of the feed by its id.
   */
  async #catchUp(feed: Feed, follower: Follower, start: Start): Promise<void> {
    const { port, id } = follower;
    const url = new URL(`${feed.base}/events`);
    for (const [name, value] of Object.entries({ topic: feed.selector, ...start })) {
      if (value !== undefined) url.searchParams.set(name, `${value}`);
    }
    url.searchParams.set("format", "json");
    const backoff = new Backoff(Infinity);
    const life = new AbortController().signal;
    while (feed.followers.has(follower)) {
      const page = await fetch(url, { cache: "no-store" }).then(pageOf).catch(() => undefined);
      if (!page) {
        await backoff.wait(life);
        continue;
      }
      if (page.gap) port({ id, delivery: gapDelivery(page.gap, url.origin) });
      for (const envelope of page.events as Envelope[]) {
        follower.paged.add(envelope.id);
        follower.pending += 1;
        port({ id, delivery: deliveryOf(envelope, url.origin) });
      }
      for (const name of ["last", "since"]) url.searchParams.delete(name);
      url.searchParams.set("after", page.cursor);
      if (page.events.length > 0) {
        if (follower.pending > PENDING_MAX) return this.#lapse(feed, follower);
        continue;
      }
      const held = follower.held ?? [];
      follower.held = undefined;
      if (feed.cursor) port({ id, opened: page.cursor });
      for (const message of held) this.#tell(feed, follower, message);
      return;
    }
  }

  #unfollow(feed: Feed, follower: Follower): void {
    this.#ports.get(follower.port)?.delete(follower.id);
    if (!feed.followers.delete(follower) || feed.followers.size > 0) return;
    const key = `${feed.base} ${feed.selector}`;
    if (this.#feeds.get(key) === feed) this.#feeds.delete(key);
    feed.connection.unsubscribe(feed.selector);
    this.#release(feed);
  }

  /** A connection that has room for one more subscription. */
  #connection(base: string): SocketConnection {
    const connections = this.#connections.get(base) ?? [];
    this.#connections.set(base, connections);
    const free = connections.find(({ subscriptions }) => subscriptions.size < SUBSCRIPTIONS_MAX);
    if (free) return free;
    const made = new SocketConnection(`${base}/events`);
    connections.push(made);
    return made;
  }

  #release({ base, connection }: Feed): void {
    if (connection.subscriptions.size > 0) return;
    connection.close(new StreamError("nobody follows anything"));
    const left = this.#connections.get(base)?.filter((other) => other !== connection) ?? [];
    this.#connections.set(base, left);
  }
}

function gapDelivery(gap: { resumed: string }, origin: string): Delivery {
  return { type: GAP, parts: { data: JSON.stringify(gap), lastEventId: gap.resumed, origin } };
}

/** The server's limit for one connection. */
const SUBSCRIPTIONS_MAX = 64;
/** So many events may be on the way to a tab for one subscription. */
export const PENDING_MAX = 1024;
