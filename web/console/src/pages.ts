// A list that the server gives page by page, asked for as far as somebody scrolls.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";

export interface Page<Row> {
  readonly rows: readonly Row[];
  /** What the next page is asked for with; null on the last. */
  readonly next: string | null;
}

/** Asks for the page behind `after` of the list that `key` selects. */
export type FetchPage<Row> = (key: string, after: string | null, signal: AbortSignal) => Promise<Page<Row>>;

export interface Listing<Row> {
  readonly rows: readonly Row[];
  readonly more: boolean;
  readonly failure: string | null;
  readonly isLoading: boolean;
  readonly loadMore: () => void;
  readonly reload: () => void;
}

/** The list that `key` selects. `fetchPage` must stay the same, and is asked again every `refreshMs` for the first page. */
export function usePages<Row>(key: string, fetchPage: FetchPage<Row>, refreshMs: number): Listing<Row> {
  const [listed, setListed] = useState<Page<Row> & { key: string; pages: number }>(NONE);
  const [failure, setFailure] = useState<string | null>(null);
  const [loads, setLoads] = useState(0);
  const [isLoading, setLoading] = useState(true);
  const pending = useRef<AbortController>(undefined);

  const load = useCallback(async (key: string, before: typeof listed) => {
    pending.current?.abort();
    const controller = new AbortController();
    pending.current = controller;
    setLoading(true);
    try {
      const page = await fetchPage(key, before.next, controller.signal);
      if (controller.signal.aborted) return;
      setListed({ key, rows: [...before.rows, ...page.rows], next: page.next, pages: before.pages + 1 });
      setFailure(null);
    } catch (error) {
      if (controller.signal.aborted) return;
      setFailure(messageOf(error));
      setListed((listed) => (listed.key === key ? listed : { ...NONE, key }));
    }
    setLoading(false);
  }, [fetchPage]);

  useEffect(() => {
    const typed = setTimeout(() => void load(key, NONE), key === listed.key ? 0 : TYPING_MS);
    return () => clearTimeout(typed);
    // What was listed meanwhile is no reason to ask again.
  }, [key, loads, load]);
  useEffect(() => {
    const timer = setInterval(() => {
      // What was scrolled far into is left as it is.
      if (!document.hidden && listed.pages <= 1 && !isLoading) setLoads((loads) => loads + 1);
    }, refreshMs);
    return () => clearInterval(timer);
  }, [listed, isLoading, refreshMs]);
  useEffect(() => () => pending.current?.abort(), []);

  const loadMore = useCallback(() => {
    if (!isLoading && failure === null && listed.next !== null) void load(listed.key, listed);
  }, [isLoading, failure, listed, load]);
  const reload = useCallback(() => setLoads((loads) => loads + 1), []);
  return { rows: listed.rows, more: listed.next !== null, failure, isLoading, loadMore, reload };
}

/** What an error says to people. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const NONE = { key: "", rows: [], next: null, pages: 0 };
const TYPING_MS = 150;
