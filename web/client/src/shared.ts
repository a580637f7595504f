/**
 * `longwave/shared`: one connection for all tabs of an origin. {@link SharedEventSource} is used like an `EventSource`.
 *
 * This is a tab's side. What is connected is `hub.ts`: in a SharedWorker; where there is none, in the tab that holds a
 * lock, which the others talk to over a BroadcastChannel; and where there are no tabs, here.
 */

import { StreamError, StreamErrorEvent, messageOf } from "./events.js";
import { type FromHub, Hub, type ToHub } from "./hub.js";
import type { Start } from "./socket.js";
import { EventStream } from "./stream.js";

export interface SharedEventSourceOptions extends Omit<Start, "type"> {
  /** Closes the stream when aborted. */
  signal?: AbortSignal;
  /** Start behind this event. Wins over the other starts. */
  lastEventId?: string;
  /** `worker` (default) is a SharedWorker where there is one; `lock` goes without. The first stream of a page decides. */
  through?: "worker" | "lock";
}

/**
 * Follows the topics that its URL names, `…/topics/a` or `…/events?topic=a&topic=b/**`, over the connection that all tabs
 * share.
 */
export class SharedEventSource<Types extends object = {}> extends EventStream<Types> {
  readonly url: string;
  /** The id of the last event that was dispatched, of whatever topic. */
  lastEventId: string;
  #dispatched: Promise<unknown> = Promise.resolve();

  constructor(url: string | URL, options: SharedEventSourceOptions = {}) {
    super(options.signal);
    const { lastEventId = "", after, last, since, through = "worker" } = options;
    const parsed = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
    this.url = parsed.href;
    this.lastEventId = lastEventId;
    const [, path = "", topic] = /^(.*?)\/(?:topics\/(.+)|events)$/.exec(parsed.pathname) ?? [];
    const selectors = topic ? [topic] : parsed.searchParams.getAll("topic");
    const start = (lastEventId ? { after: lastEventId } : { after, last, since }) as Start;
    link ??= new Link(through);
    const { signal } = this.life;
    const left = new Set(selectors);
    for (const selector of signal.aborted ? [] : selectors) {
      const following: Following = {
        base: parsed.origin + path,
        selector,
        start,
        take: (message, took) => {
          if ("over" in message) left.delete(selector);
          this.#dispatched = this.#dispatched.then(() => this.#take(message, left.size)).catch(() => {}).then(took);
        },
      };
      const id = link.follow(following);
      signal.addEventListener("abort", () => link?.unfollow(id));
    }
  }

  async #take(message: FromHub, left: number): Promise<void> {
    if ("delivery" in message) {
      const { type, parts } = message.delivery;
      this.lastEventId = parts.lastEventId;
      await this.emit(messageOf(type, parts));
      await this.drained();
    } else if ("opened" in message) {
      if (this.readyState !== 1) await this.emit(new Event("open"), 1);
    } else if ("lost" in message) {
      if (this.readyState === 1) await this.emit(new StreamErrorEvent(new StreamError(message.lost)), 0);
    } else if ("over" in message && (message.over !== null || left === 0)) {
      const error = new StreamError(message.over ?? "every topic has ended");
      await this.fail(error, message.over === null ? "ended" : "failed");
    }
  }
}

interface Following {
  readonly base: string;
  readonly selector: string;
  /** Where it goes on: replaced by what came. */
  start: Start;
  take(message: FromHub, took: () => void): void;
}

/** A page's way to the hub. */
class Link {
  #followings = new Map<number, Following>();
  #ids = 0;
  #post: (message: ToHub) => void = () => {};
  #isHeld = false;
  #tab = crypto.getRandomValues(new Uint32Array(4)).join("-");

  constructor(through: "worker" | "lock") {
    // Held until the page is gone, however it goes: that is how the hub knows.
    void globalThis.navigator?.locks?.request(this.#lock, () => {
      // Not before: a hub that asks for the lock first would take this page for gone.
      this.#isHeld = true;
      this.#post({ op: "hello", lock: this.#lock });
      return new Promise(() => {});
    });
    if (through === "worker" && globalThis.SharedWorker) this.#useWorker();
    else if (globalThis.navigator?.locks && globalThis.BroadcastChannel) this.#useLock();
    else this.#useOwn();
    // A page that is kept to be returned to is frozen: it goes on from where it was.
    globalThis.addEventListener?.("pagehide", () => this.#post({ op: "bye" }));
    globalThis.addEventListener?.("pageshow", ({ persisted }) => persisted && this.#again());
  }

  follow(following: Following): number {
    const id = (this.#ids += 1);
    this.#followings.set(id, following);
    this.#ask(id, following);
    return id;
  }

  unfollow(id: number): void {
    if (this.#followings.delete(id)) this.#post({ op: "unfollow", id });
  }

  get #lock(): string {
    return `longwave tab ${this.#tab}`;
  }

  #ask(id: number, { base, selector, start }: Following): void {
    this.#post({ op: "follow", id, base, selector, start });
  }

  /** The hub knows nothing of this page: a new one, or one that forgot it. */
  #again(): void {
    if (this.#isHeld) this.#post({ op: "hello", lock: this.#lock });
    for (const [id, following] of this.#followings) this.#ask(id, following);
  }

  #take(message: FromHub): void {
    const following = this.#followings.get(message.id);
    if (!following) return;
    const { id } = message;
    if ("lapsed" in message) return this.#ask(id, following);
    if ("over" in message) this.#followings.delete(id);
    if ("opened" in message && following.start.after !== message.opened) following.start = { after: message.opened };
    if ("delivery" in message) following.start = { after: message.delivery.parts.lastEventId };
    following.take(message, () => "delivery" in message && this.#post({ op: "took", id, count: 1 }));
  }

  #useWorker(): void {
    const worker = new SharedWorker(new URL("./shared-worker.js", import.meta.url), { type: "module", name: "longwave" });
    worker.port.onmessage = ({ data }: MessageEvent<FromHub>) => this.#take(data);
    this.#post = (message) => worker.port.postMessage(message);
    // Its script can't be had, such as from another origin, or under the name that a bundler gave it.
    worker.onerror = () => {
      this.#post = () => {};
      this.#useLock();
    };
    this.#again();
  }

  #useLock(): void {
    const channel = new BroadcastChannel("longwave");
    const tabs = new Map<string, (message: FromHub) => void>();
    let hub: Hub | undefined;
    const portOf = (tab: string) => {
      const port = tabs.get(tab) ?? ((message: FromHub) => channel.postMessage({ to: tab, message }));
      tabs.set(tab, port);
      return port;
    };
    const own = (message: FromHub) => queueMicrotask(() => this.#take(message));
    channel.onmessage = ({ data: { to, from, message } }) => {
      if (to === "hub") hub?.handle(portOf(from), message);
      else if (to === this.#tab) this.#take(message);
      else if (to === "all") this.#again();
    };
    this.#post = (message) => {
      if (hub) hub.handle(own, message);
      else channel.postMessage({ to: "hub", from: this.#tab, message });
    };
    const lead = () =>
      navigator.locks.request("longwave hub", async () => {
        hub = new Hub();
        channel.postMessage({ to: "all" });
        this.#again();
        // A frozen page would hold the lock and hand nothing on.
        await new Promise((resolve) => document.addEventListener("freeze", resolve, { once: true }));
        hub.close();
        hub = undefined;
        document.addEventListener("resume", () => void lead(), { once: true });
      });
    void lead();
    this.#again();
  }

  #useOwn(): void {
    const hub = new Hub();
    const port = (message: FromHub) => queueMicrotask(() => this.#take(message));
    this.#post = (message) => hub.handle(port, message);
  }
}

/** A page has one. */
let link: Link | undefined;
