/**
 * What all streams have in common, whatever brings their events: listeners, handlers, states, iteration.
 *
 * {@link EventStream} is the interface; `eventsource.ts` and others bring it to life.
 */

import {
  END,
  type EndEvent,
  GAP,
  type GapEvent,
  type StreamError,
  StreamErrorEvent,
  StreamMessage,
  TRANSPORT,
  type TransportEvent,
} from "./events.js";

/** The events that every stream has, by type. */
export interface StreamEvents {
  open: Event;
  error: StreamErrorEvent;
  [GAP]: GapEvent;
  [END]: EndEvent;
  [TRANSPORT]: TransportEvent;
}

/** The event of a type: a stream's own, or a message whose JSON is what `Types` says. */
export type EventOf<Types, Type> = Type extends keyof StreamEvents
  ? StreamEvents[Type]
  : StreamMessage<Type extends keyof Types ? Types[Type] : unknown>;

type Handler<Event> = ((this: EventTarget, event: Event) => unknown) | null;

export interface EventStream<Types extends object = {}> {
  onopen: Handler<Event>;
  /** For events without a type of their own. */
  onmessage: Handler<EventOf<Types, "message">>;
  onerror: Handler<StreamErrorEvent>;
  /** For `longwave.gap`. */
  ongap: Handler<GapEvent>;
  /** For `longwave.end`. */
  onend: Handler<EndEvent>;
  /** For `longwave.transport`. */
  ontransport: Handler<TransportEvent>;

  addEventListener<Type extends keyof StreamEvents | (keyof Types & string) | "message">(
    type: Type,
    listener: (event: EventOf<Types, Type>) => unknown,
    options?: AddEventListenerOptions | boolean,
  ): void;
  addEventListener(
    type: string,
    listener: ((event: StreamMessage) => unknown) | EventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  removeEventListener(
    type: string,
    listener: ((event: never) => unknown) | EventListenerObject | null,
    options?: EventListenerOptions | boolean,
  ): void;
}

/**
 * A stream of events with the interface of an `EventSource`, which can also be iterated over:
 * `for await (const event of stream)` gives every message, gap and end, ends with the stream, and fails when it fails.
 * Leaving the loop closes the stream. A loop that is slower than the stream holds the connection back.
 */
export abstract class EventStream<Types extends object = {}> extends EventTarget {
  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static readonly CLOSED = 2;
  readonly CONNECTING = 0;
  readonly OPEN = 1;
  readonly CLOSED = 2;

  /** Aborted when the stream is closed, in whatever way. */
  protected readonly life = new AbortController();
  #readyState: 0 | 1 | 2 = 0;
  #handlers = new Map<string, unknown>();
  #loops = new Set<Loop>();
  #eachListeners = new Set<(event: StreamMessage) => void>();
  /** How the stream ended: with what iteration is to fail, or in order. */
  #outcome: { error?: unknown } | undefined;

  static {
    for (const name of ["open", "message", "error", "gap", "end", "transport"]) {
      const type = [GAP, END, TRANSPORT].find((type) => type.endsWith(`.${name}`)) ?? name;
      Object.defineProperty(EventStream.prototype, `on${name}`, {
        enumerable: true,
        configurable: true,
        get(this: EventStream) {
          return this.#handlers.get(type) ?? null;
        },
        set(this: EventStream, handler: unknown) {
          if (!this.#handlers.has(type)) EventTarget.prototype.addEventListener.call(this, type, (event) => this.#handle(event));
          this.#handlers.set(type, typeof handler === "function" ? handler : null);
        },
      });
    }
  }

  constructor(signal?: AbortSignal) {
    super();
    if (!signal) return;
    const abort = () => this.settle({ error: signal.reason });
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, this.life);
  }

  get readyState(): 0 | 1 | 2 {
    return this.#readyState;
  }

  /** Lets go of the connection for good. No event comes afterwards. */
  close(): void {
    this.settle({});
  }

  /** Calls back for every message, gap and end, whatever its type. @returns what ends that. */
  onEach(listener: (event: StreamMessage) => void): () => void {
    this.#eachListeners.add(listener);
    return () => void this.#eachListeners.delete(listener);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<EventOf<Types, "message"> | GapEvent | EndEvent, void, undefined> {
    const loop: Loop = { events: [], wake: undefined, drain: undefined };
    this.#loops.add(loop);
    try {
      for (;;) {
        const event = loop.events.shift();
        if (event) {
          if (loop.events.length === 0) loop.drain?.();
          yield event as EventOf<Types, "message">;
        } else if (this.#outcome) {
          if ("error" in this.#outcome) throw this.#outcome.error;
          return;
        } else {
          await new Promise<void>((resolve) => (loop.wake = resolve));
        }
      }
    } finally {
      this.#loops.delete(loop);
      loop.drain?.();
      this.close();
    }
  }

  /** Dispatches in a task of its own, as a platform's `EventSource` does, unless the stream was closed before that. */
  protected async emit(event: Event, state = this.#readyState): Promise<void> {
    await nextTask();
    this.life.signal.throwIfAborted();
    this.#readyState = state;
    if (event instanceof StreamMessage) {
      for (const loop of this.#loops) {
        loop.events.push(event);
        loop.wake?.();
      }
    }
    this.dispatchEvent(event);
    if (event instanceof StreamMessage) for (const listener of this.#eachListeners) listener(event);
  }

  /** Resolves when no loop is far behind. */
  protected async drained(): Promise<void> {
    for (const loop of this.#loops) {
      if (loop.events.length < LOOP_EVENTS_MAX) continue;
      await new Promise<void>((resolve) => (loop.drain = resolve));
    }
  }

  /** Gives the stream up. Listeners are told; iteration fails unless the stream ended in order. */
  protected async fail(error: StreamError, how: "failed" | "ended"): Promise<void> {
    await nextTask();
    if (this.#outcome) return;
    this.settle(how === "failed" ? { error } : {});
    this.dispatchEvent(new StreamErrorEvent(error));
  }

  protected settle(outcome: { error?: unknown }): void {
    if (this.#outcome) return;
    this.#outcome = outcome;
    this.#readyState = 2;
    this.life.abort();
    for (const loop of this.#loops) {
      loop.wake?.();
      loop.drain?.();
    }
  }

  #handle(event: Event): void {
    const handler = this.#handlers.get(event.type);
    if (typeof handler === "function") handler.call(this, event);
  }
}

interface Loop {
  /** Dispatched, and not yet asked for. */
  readonly events: StreamMessage[];
  wake: (() => void) | undefined;
  drain: (() => void) | undefined;
}

/** A task of its own, without the delay that browsers put on timers. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    const { setImmediate } = globalThis as { setImmediate?: (callback: () => void) => void };
    if (setImmediate) return setImmediate(resolve);
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** So many events wait for a loop before the connection is held back, and what one more chunk brings. */
const LOOP_EVENTS_MAX = 256;
