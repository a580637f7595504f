// How the server is, in numbers and plots that move.

import type { JSX } from "preact";
import { useState } from "preact/hooks";

import { BYTES, COUNT, RATE, bytes, count } from "./format.ts";
import { Plot, type Line } from "./plot.tsx";
import type { ServerFigures } from "./stats.ts";

const SPANS = [
  { seconds: 60, label: "60 s" },
  { seconds: 3600, label: "1 h" },
] as const;

export function Overview({ figures }: { readonly figures: ServerFigures }): JSX.Element {
  const [seconds, setSeconds] = useState<number>(SPANS[0].seconds);
  const { latest } = figures.history;
  const tiles: [string, string | undefined][] = [
    ["Topics", latest && count(latest.topics)],
    ["Events kept", latest && count(latest.events)],
    ["Log", latest && bytes(latest.log_bytes)],
    ["Channels followed", latest && count(latest.channels)],
    ["Streams running", latest && count(latest.streams_running)],
    ["Bodies held", latest && bytes(latest.bodies_bytes)],
  ];
  return (
    <>
      <div class="bar">
        <h1>Overview</h1>
        <fieldset class="choice">
          <legend class="hidden">Time shown in the plots</legend>
          {SPANS.map((span) => (
            <label key={span.label}>
              <input
                type="radio"
                name="span"
                checked={span.seconds === seconds}
                onChange={() => setSeconds(span.seconds)}
              />
              <span>{span.label}</span>
            </label>
          ))}
        </fieldset>
      </div>
      <dl class="tiles">
        {tiles.map(([label, value]) => (
          <div class="card" key={label}>
            <dt>{label}</dt>
            <dd>{value ?? "–"}</dd>
          </div>
        ))}
      </dl>
      <div class="plots">
        <Plot title="Events per second" lines={RATES} format={RATE} figures={figures} seconds={seconds} />
        <Plot title="Subscribers" lines={SUBSCRIBERS} format={COUNT} figures={figures} seconds={seconds} />
        <Plot title="Size of the log" lines={LOG} format={BYTES} figures={figures} seconds={seconds} />
        <Plot title="Memory of the process" lines={MEMORY} format={BYTES} figures={figures} seconds={seconds} />
      </div>
      <p class="soft">
        All of it is read from the topic <a href="/topics/$sys/stats">$sys/stats</a>, and counts the console as a
        subscriber of it.
      </p>
    </>
  );
}

const RATES: readonly Line[] = [
  { label: "published", column: (figures) => figures.published_per_second },
  { label: "delivered", column: (figures) => figures.delivered_per_second },
];
const SUBSCRIBERS: readonly Line[] = [
  { label: "Server-Sent Events", column: (figures) => figures.subscribers.sse },
  { label: "WebSocket", column: (figures) => figures.subscribers.websocket },
  { label: "NDJSON", column: (figures) => figures.subscribers.ndjson },
  { label: "long poll", column: (figures) => figures.subscribers.long_poll },
];
const LOG: readonly Line[] = [{ label: "log", column: (figures) => figures.log_bytes }];
const MEMORY: readonly Line[] = [{ label: "resident", column: (figures) => figures.memory_bytes }];
