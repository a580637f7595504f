// All topics: search by how their names begin, and publish to one.

import type { JSX } from "preact";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import { PAGE_TOPICS, publish, topicPath, topics, type Topic } from "./api.ts";
import { bytes, count } from "./format.ts";
import { List } from "./list.tsx";

export function Topics(): JSX.Element {
  const [prefix, setPrefix] = useState("");
  const { rows, more, failure, isLoading, loadMore, reload } = useTopics(prefix.trim());
  const search = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const isTyping = event.target instanceof Element && event.target.matches("input, textarea, select");
      if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      search.current?.focus();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
  const shown = `${count(rows.length)}${more ? " or more" : ""} ${rows.length === 1 && !more ? "topic" : "topics"}`;
  return (
    <>
      <h1>Topics</h1>
      <Publish onPublished={reload} />
      <label class="search">
        <span>Search by the beginning of the name <kbd>/</kbd></span>
        <input
          type="search"
          ref={search}
          value={prefix}
          onInput={(event) => setPrefix(event.currentTarget.value)}
          autocomplete="off"
          spellcheck={false}
        />
      </label>
      <p class="soft" role="status">
        {failure !== null ? `The topics could not be listed: ${failure}` : isLoading && rows.length === 0 ? "Looking…" : shown}
      </p>
      <List
        label="Topics"
        columns={["Topic", "Events", "Bytes", "Subscribers", "State"]}
        rows={rows}
        more={more}
        keyOf={(row) => row.topic}
        cells={(row) => [
          <a href={`/topics/${row.topic}`} title={row.topic}>{row.topic}</a>,
          count(row.events),
          bytes(row.bytes),
          count(row.subscribers),
          row.end ? `ended (${row.end.reason})` : "open",
        ]}
        onEnd={loadMore}
      />
    </>
  );
}

function Publish({ onPublished }: { readonly onPublished: () => void }): JSX.Element {
  const [topic, setTopic] = useState("news");
  const [text, setText] = useState("hello");
  const [answer, setAnswer] = useState<JSX.Element | string>("");
  const submit = async (event: Event) => {
    event.preventDefault();
    try {
      const id = await publish(topic, text);
      setAnswer(<>Published to <a href={topicPath(topic)}>{topic}</a> as <code>{id}</code>.</>);
      onPublished();
    } catch (error) {
      setAnswer(`Not published: ${messageOf(error)}`);
    }
  };
  return (
    <form class="card publish" onSubmit={submit} aria-label="Publish a text">
      <label>
        <span>Topic</span>
        <input required value={topic} onInput={(event) => setTopic(event.currentTarget.value)} autocomplete="off" spellcheck={false} />
      </label>
      <label>
        <span>Text</span>
        <input value={text} onInput={(event) => setText(event.currentTarget.value)} autocomplete="off" />
      </label>
      <button type="submit">Publish</button>
      <p class="soft" role="status">{answer}</p>
    </form>
  );
}

interface Listing {
  readonly prefix: string;
  readonly rows: readonly Topic[];
  readonly next: string | null;
}

/** The topics with this prefix, as far as they were asked for. */
function useTopics(prefix: string) {
  const [listing, setListing] = useState<Listing>({ prefix: "", rows: [], next: null });
  const [failure, setFailure] = useState<string | null>(null);
  const [loads, setLoads] = useState(0);
  const [isLoading, setLoading] = useState(true);
  const pending = useRef<AbortController>(undefined);

  const load = useCallback(async (prefix: string, before: Listing | null) => {
    pending.current?.abort();
    const controller = new AbortController();
    pending.current = controller;
    setLoading(true);
    try {
      const page = await topics(prefix, before?.next ?? null, controller.signal);
      if (controller.signal.aborted) return;
      setListing({ prefix, rows: [...(before?.rows ?? []), ...page.topics], next: page.next });
      setFailure(null);
    } catch (error) {
      if (controller.signal.aborted) return;
      setFailure(messageOf(error));
      setListing((listing) => (listing.prefix === prefix ? listing : { prefix, rows: [], next: null }));
    }
    setLoading(false);
  }, []);

  useEffect(() => {
    const typed = setTimeout(() => void load(prefix, null), prefix === listing.prefix ? 0 : TYPING_MS);
    return () => clearTimeout(typed);
    // What was listed meanwhile is no reason to ask again.
  }, [prefix, loads, load]);
  useEffect(() => {
    const timer = setInterval(() => {
      // What was scrolled far into is left as it is.
      if (!document.hidden && listing.rows.length <= PAGE_TOPICS && !isLoading) setLoads((loads) => loads + 1);
    }, REFRESH_MS);
    return () => clearInterval(timer);
  }, [listing, isLoading]);
  useEffect(() => () => pending.current?.abort(), []);

  const loadMore = useCallback(() => {
    if (!isLoading && failure === null && listing.next !== null) void load(listing.prefix, listing);
  }, [isLoading, failure, listing, load]);
  const reload = useCallback(() => setLoads((loads) => loads + 1), []);
  return { rows: listing.rows, more: listing.next !== null, failure, isLoading, loadMore, reload };
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const TYPING_MS = 150;
const REFRESH_MS = 5000;
