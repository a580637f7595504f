// All topics: search by how their names begin, and publish to one.

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { publish, topicPath, topics } from "./api.ts";
import { bytes, count } from "./format.ts";
import { List } from "./list.tsx";
import { messageOf, usePages } from "./pages.ts";

export function Topics(): JSX.Element {
  const [prefix, setPrefix] = useState("");
  const { rows, more, failure, isLoading, loadMore, reload } = usePages(prefix.trim(), topics, REFRESH_MS);
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
        kind="topics"
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

const REFRESH_MS = 5000;
