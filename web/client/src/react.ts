/** `longwave/react`: {@link useTopic} for the events of a topic, {@link useStream} for what to do with a stream's. */

import { useEffect, useRef, useState, useSyncExternalStore } from "react";

import type { StreamErrorEvent, StreamMessage } from "./events.js";
import { EventSource, type EventSourceOptions } from "./eventsource.js";
import type { EventStream } from "./stream.js";

export interface TopicState<Value> {
  /** The newest events, the oldest of them first. */
  readonly events: readonly StreamMessage<Value>[];
  readonly last: StreamMessage<Value> | undefined;
  readonly status: "connecting" | "open" | "closed";
  /** Why the connection was lost last; undefined once it is open again. */
  readonly error: StreamErrorEvent["error"] | undefined;
}

export interface UseTopicOptions extends EventSourceOptions {
  /** How many events are kept. Default 100. */
  eventsMax?: number;
  /** Opens the stream. Default: an {@link EventSource}; `longwave/shared` and `longwave/websocket` have others. */
  open?: (url: string, options: EventSourceOptions) => EventStream;
}

/**
 * Follows a topic, or whatever a URL streams, while the component is there. Null follows nothing. What the options say
 * counts when the URL changes.
 */
export function useTopic<Value = unknown>(url: string | null, options: UseTopicOptions = {}): TopicState<Value> {
  const latest = useRef(options);
  latest.current = options;
  const [store] = useState(() => new TopicStore<Value>());
  useEffect(() => {
    if (url === null) return undefined;
    const { eventsMax = EVENTS_MAX, open = (url, options) => new EventSource(url, options), ...rest } = latest.current;
    const stream = open(url, rest);
    const loop = store.follow(stream, eventsMax);
    return () => {
      stream.close();
      loop.abort();
    };
  }, [url, store]);
  return useSyncExternalStore(store.subscribe, store.snapshot, store.snapshot);
}

/** Calls back for every message, gap and end of a stream while the component is there. The newest callback is called. */
export function useStream(stream: EventStream | null, onEvent: (event: StreamMessage) => void): void {
  const latest = useRef(onEvent);
  latest.current = onEvent;
  useEffect(() => {
    if (stream === null) return undefined;
    return stream.onEach((event) => latest.current(event));
  }, [stream]);
}

class TopicStore<Value> {
  #state: TopicState<Value> = NOTHING;
  #listeners = new Set<() => void>();

  readonly snapshot = (): TopicState<Value> => this.#state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  follow(stream: EventStream, eventsMax: number): AbortController {
    const over = new AbortController();
    this.#set(NOTHING);
    const stop = stream.onEach((event) => {
      const last = event as StreamMessage<Value>;
      this.#set({ ...this.#state, last, events: [...this.#state.events, last].slice(-eventsMax) });
    });
    over.signal.addEventListener("abort", stop);
    stream.addEventListener("open", () => this.#set({ ...this.#state, status: "open", error: undefined }), over);
    stream.addEventListener(
      "error",
      ({ error }) => this.#set({ ...this.#state, status: stream.readyState === 2 ? "closed" : "connecting", error }),
      over,
    );
    return over;
  }

  #set(state: TopicState<Value>): void {
    this.#state = state;
    for (const listener of this.#listeners) listener();
  }
}

const EVENTS_MAX = 100;
const NOTHING: TopicState<never> = { events: [], last: undefined, status: "connecting", error: undefined };
