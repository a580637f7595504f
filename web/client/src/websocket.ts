/** `longwave/websocket`: topics both ways over one WebSocket. {@link TopicSocket} has the interface of an `EventSource`. */

import { StreamError, StreamErrorEvent, messageOf } from "./events.js";
import { type PublishOptions, type Published, type Sink, SocketConnection, type Start } from "./socket.js";
import { EventStream } from "./stream.js";

export { PublishError, type PublishOptions, type Published, type Start } from "./socket.js";

export interface TopicSocketOptions extends Start {
  /** Closes the socket when aborted. */
  signal?: AbortSignal;
  /** Start behind this event. Wins over the other starts. */
  lastEventId?: string;
  /** The platform's, unless it has none: Node 20 needs that of the package `ws`. */
  WebSocket?: typeof WebSocket;
  /** How long to wait before reconnecting where the server does not say. Default 3,000. */
  retryMs?: number;
  /** How often in a row a connection may be lost before anything comes. Default `Infinity`. */
  retriesMax?: number;
}

/**
 * Follows the topics that its URL names (`…/topics/room`, `…/events?topic=a&topic=b/**`) and those that are subscribed to
 * later, and publishes. Each subscription goes on behind its own last event, and each publish is sent until it is
 * acknowledged.
 */
export class TopicSocket<Types extends object = {}> extends EventStream<Types> {
  readonly url: string;
  /** The id of the last event that was dispatched, of whatever topic. */
  lastEventId: string;
  #connection: SocketConnection;
  /** What `publish` publishes to by itself. */
  #topic: string | undefined;
  /** Dispatches in order: each event in a task of its own. */
  #dispatched: Promise<unknown> = Promise.resolve();

  constructor(url: string | URL, { signal, lastEventId = "", after, last, since, type, ...options }: TopicSocketOptions = {}) {
    super(signal);
    const parsed = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
    parsed.protocol = parsed.protocol.replace("ws", "http");
    this.url = parsed.href;
    this.lastEventId = lastEventId;
    const [, base = "", topic] = /^(.*?)\/(?:topics\/(.+)|events)$/.exec(parsed.pathname) ?? [];
    const selectors = topic ? [topic] : parsed.searchParams.getAll("topic");
    this.#topic = topic;
    this.#connection = new SocketConnection(`${parsed.origin}${base}/events`, options);
    const start = { ...(lastEventId ? { after: lastEventId } : { after, last, since }), type } as Start;
    for (const selector of selectors) this.subscribe(selector, start);
    this.life.signal.addEventListener("abort", () => this.#connection.close());
    if (this.life.signal.aborted) this.#connection.close();
  }

  /** Follows one more topic or pattern. `opened` is called with where it starts. */
  subscribe(selector: string, start: Start = {}): void {
    const queue = (event: Event, state?: 0 | 1) => {
      this.#dispatched = this.#dispatched.then(() => this.emit(event, state)).catch(() => {});
    };
    const sink: Sink = {
      opened: () => {
        if (this.readyState !== 1) queue(new Event("open"), 1);
      },
      delivered: ({ type, parts }) => {
        this.#dispatched = this.#dispatched
          .then(() => {
            this.lastEventId = parts.lastEventId;
            return this.emit(messageOf(type, parts));
          })
          .catch(() => {});
      },
      lost: (error) => {
        if (this.readyState === 1) queue(new StreamErrorEvent(error), 0);
      },
      over: (error) => {
        if (error) this.#dispatched = this.#dispatched.then(() => this.fail(error, "failed"));
      },
    };
    this.#connection.subscribe(selector, start, sink);
  }

  unsubscribe(selector: string): void {
    this.#connection.unsubscribe(selector);
  }

  /**
   * Publishes one event: a string as text, every other value as JSON.
   *
   * @returns what the server says when the event is durable.
   * @throws PublishError when it is refused, StreamError when the socket was closed before an answer came.
   */
  async publish(data: unknown, { topic = this.#topic, ...options }: PublishOptions = {}): Promise<Published> {
    if (topic === undefined) throw new StreamError("the URL names no single topic: say which one to publish to");
    return this.#connection.publish(data, { topic, ...options });
  }
}
