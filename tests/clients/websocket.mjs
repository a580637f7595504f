// Follows one topic over WebSocket with the npm package `ws`, and resumes behind the last message it got.
//
//     node websocket.mjs URL

import WebSocket from "ws";

import { reportDone, reportMessage } from "./report.mjs";

const CLIENT = "ws";
const RECONNECT_DELAY_MS = 200;

function follow(after) {
  const url = new URL(process.argv[2]);
  url.protocol = "ws:";
  url.searchParams.set("after", after);
  let cursor = after;
  let ended = false;
  const socket = new WebSocket(url, "longwave.v1");
  socket.on("message", (data) => {
    const told = reportMessage(CLIENT, data.toString());
    cursor = told.cursor ?? cursor;
    ended ||= told.ended === true;
    if (ended) socket.close();
  });
  // An error is followed by `close`, which is where it goes on.
  socket.on("error", (error) => console.error(`${CLIENT}: ${error.message}`));
  socket.on("close", (code) => {
    if (ended) return reportDone(CLIENT, "end");
    console.error(`${CLIENT}: closed with ${code}, goes on after ${cursor}`);
    setTimeout(() => follow(cursor), RECONNECT_DELAY_MS);
  });
}

follow("first");
