/**
 * When to try again: full-jitter backoff, `Retry-After`, and a browser that is offline.
 *
 * {@link Backoff} is what a caller holds; it knows nothing of what is tried.
 */

/** Counts tries that failed in a row, and waits before the next. */
export class Backoff {
  /** `0 <= failures <= retriesMax`. */
  failures = 0;
  #retriesMax: number;

  /** Who holds it sets `failures` to 0 when something came through. */
  constructor(retriesMax: number) {
    this.#retriesMax = retriesMax;
  }

  /**
   * Waits until the next try, at least `leastMs`. A browser that is offline waits to be online instead, which counts
   * as no failure; one that comes back online in the middle of a wait ends it.
   *
   * @returns whether there is a next try: false where as many as allowed have failed.
   * @throws the signal's reason, as soon as it is aborted.
   */
  async wait(signal: AbortSignal, leastMs = 0): Promise<boolean> {
    if (isOffline()) {
      await pause(undefined, signal);
      return true;
    }
    if (this.failures >= this.#retriesMax) return false;
    this.failures += 1;
    await pause(leastMs + fullJitterMs(this.failures), signal);
    return true;
  }
}

/** A wait before the `failures`th retry (from 1): evenly anything up to a bound that doubles, so that clients spread. */
export function fullJitterMs(failures: number, random: () => number = Math.random): number {
  return random() * Math.min(DELAY_MAX_MS, DELAY_FIRST_MS * 2 ** (failures - 1));
}

/** What a `Retry-After` asks for, seconds or a date; 0 without one, and never more than {@link RETRY_AFTER_MAX_MS}. */
export function retryAfterMs(value: string | null, nowMs: number = Date.now()): number {
  if (value === null) return 0;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - nowMs;
  // A date that can't be read is NaN, for which every comparison is false.
  return ms > 0 ? Math.min(ms, RETRY_AFTER_MAX_MS) : 0;
}

/** Whether the platform says that there is no network. Only browsers do; everything else is taken to be online. */
export function isOffline(): boolean {
  return globalThis.navigator?.onLine === false;
}

/** Calls back whenever a browser comes back online, until the signal is aborted. */
export function onOnline(callback: () => void, signal: AbortSignal): void {
  // Node and Bun have no events on their global object.
  globalThis.addEventListener?.("online", callback, { signal });
}

/** Resolves after `ms` (without it: never by itself) or when the browser comes online; rejects when aborted. */
function pause(ms: number | undefined, signal: AbortSignal): Promise<void> {
  const over = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const woken = new Promise<void>((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    if (ms !== undefined) timer = setTimeout(resolve, ms);
    onOnline(resolve, over.signal);
    signal.addEventListener("abort", abort, over);
  });
  return woken.finally(() => {
    clearTimeout(timer);
    over.abort();
  });
}

/** The bound of the first wait. */
export const DELAY_FIRST_MS = 250;
/** The bound that doubling stops at. */
export const DELAY_MAX_MS = 8_000;
/** A header can't hold a reader for longer than this. */
export const RETRY_AFTER_MAX_MS = 300_000;
