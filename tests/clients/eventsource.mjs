// Follows one topic with the npm package `eventsource`, which reconnects and resumes by itself.
//
//     node eventsource.mjs URL

import { EventSource } from "eventsource";

import { EVENT_TYPES, reportDone, reportEvent } from "./report.mjs";

const CLIENT = "eventsource";

// Version 5 does not keep the process alive while it waits to reconnect.
const alive = setInterval(() => {}, 60_000);

const source = new EventSource(`${process.argv[2]}?after=first`);
for (const type of EVENT_TYPES) {
  source.addEventListener(type, (event) => {
    reportEvent(CLIENT, { id: event.lastEventId, type: event.type, data: event.data });
  });
}
source.addEventListener("error", (event) => {
  console.error(`${CLIENT}: ${event.code ?? ""} ${event.message ?? "disconnected"}`);
  if (source.readyState !== EventSource.CLOSED) return;
  clearInterval(alive);
  reportDone(CLIENT, String(event.code));
});
