// What went through the gateway: its streams, the newest first, each to be watched or cancelled.

import type { JSX } from "preact";
import { useState } from "preact/hooks";

import { STREAM_STATES, cancelStream, streams, type Stream } from "./api.ts";
import { count, rate } from "./format.ts";
import { List } from "./list.tsx";
import { messageOf, usePages } from "./pages.ts";

export function Streams(): JSX.Element {
  const [state, setState] = useState("");
  const { rows, more, failure, isLoading, loadMore, reload } = usePages(state, streams, REFRESH_MS);
  const [answer, setAnswer] = useState("");
  const cancel = async (stream: Stream) => {
    try {
      const { state } = await cancelStream(stream.id);
      setAnswer(`${stream.id} is ${state}.`);
      reload();
    } catch (error) {
      setAnswer(`${stream.id} was not cancelled: ${messageOf(error)}`);
    }
  };
  const shown = `${count(rows.length)}${more ? " or more" : ""} ${rows.length === 1 && !more ? "stream" : "streams"}`;
  return (
    <>
      <h1>Streams</h1>
      <label class="filter">
        <span>State</span>
        <select value={state} onChange={(event) => setState(event.currentTarget.value)}>
          <option value="">all</option>
          {STREAM_STATES.map((state) => <option key={state} value={state}>{state}</option>)}
        </select>
      </label>
      <p class="soft" role="status">
        {failure !== null ? `The streams could not be listed: ${failure}` : isLoading && rows.length === 0 ? "Looking…" : shown}
        {answer !== "" && ` · ${answer}`}
      </p>
      <List
        label="Streams"
        kind="streams"
        columns={["Stream", "State", "First event", "Events", "Events/s", "Viewers", "Stop"]}
        rows={rows}
        more={more}
        keyOf={(stream) => stream.id}
        cells={(stream) => [
          <a href={`/topics/${stream.topic}?after=first`} title={`${stream.request}, ${stream.id}`}>
            {stream.model ?? stream.request}
          </a>,
          stream.state,
          stream.first_event_ms === undefined ? "–" : `${count(stream.first_event_ms)} ms`,
          count(stream.events),
          eventsPerSecond(stream),
          count(stream.viewers),
          stream.state === "running" && (
            <button type="button" aria-label={`Cancel ${stream.id}`} onClick={() => void cancel(stream)}>Cancel</button>
          ),
        ]}
        onEnd={loadMore}
      />
      <p class="soft">
        Streams that take credentials (the setting <code>gateway.viewers</code>) are listed only to those who began them, and so not here.
      </p>
    </>
  );
}

/** From the first event to the last, or until now. */
function eventsPerSecond(stream: Stream): string {
  if (stream.first_event === undefined) return "–";
  const end = stream.ended === undefined ? Date.now() : Date.parse(stream.ended);
  const seconds = (end - Date.parse(stream.first_event)) / 1000;
  return seconds > 0 ? rate(stream.events / seconds) : "–";
}

const REFRESH_MS = 2000;
