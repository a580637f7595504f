// What the console asks of the server besides following topics.

import type { FetchPage } from "./pages.ts";

/** A topic, as the list gives it. */
export interface Topic {
  readonly topic: string;
  readonly first: string | null;
  readonly last: string | null;
  readonly events: number;
  readonly bytes: number;
  readonly subscribers: number;
  readonly end: { readonly id: string; readonly reason: string } | null;
}

/** A stream of the gateway, as the list gives it. */
export interface Stream {
  readonly id: string;
  readonly state: string;
  readonly request: string;
  readonly model?: string;
  readonly first_event?: string;
  readonly first_event_ms?: number;
  readonly ended?: string;
  readonly events: number;
  readonly viewers: number;
  readonly topic: string;
}

export const STREAM_STATES = ["running", "done", "error", "truncated", "cancelled", "timeout", "crashed"] as const;

/** One page of the topics whose names begin with `prefix`, behind `after`. */
export const topics: FetchPage<Topic> = async (prefix, after, signal) => {
  const query = listQuery({ limit: String(PAGE_TOPICS), prefix, after });
  const list = await answer<{ topics: Topic[]; next: string | null }>(fetch(`/topics?${query}`, { signal }));
  return { rows: list.topics, next: list.next };
};

/** One page of the streams in a state, or of all, behind `after`. */
export const streams: FetchPage<Stream> = async (state, after, signal) => {
  const query = listQuery({ limit: String(PAGE_STREAMS), state, after });
  const list = await answer<{ streams: Stream[]; next: string | null }>(fetch(`/streams?${query}`, { signal }));
  return { rows: list.streams, next: list.next };
};

/** Cancels a stream; the stream as it is then. */
export const cancelStream = (id: string): Promise<Stream> => answer(fetch(`/streams/${id}/cancel`, { method: "POST" }));

/** Publishes a text; the id of its event. */
export async function publish(topic: string, text: string): Promise<string> {
  const headers = { "content-type": "text/plain" };
  const published = answer<{ id: string }>(fetch(topicPath(topic), { method: "POST", headers, body: text }));
  return (await published).id;
}

/** The address of a topic whose name a person typed: what must be encoded is encoded, slashes part segments. */
export const topicPath = (name: string): string => `/topics/${name.split("/").map(encodeURIComponent).join("/")}`;

/** What is empty is not asked for. */
function listQuery(parameters: Record<string, string | null>): URLSearchParams {
  const given = Object.entries(parameters).filter((pair): pair is [string, string] => Boolean(pair[1]));
  return new URLSearchParams(given);
}

/** The JSON of an answer; an error that says what the server says where it refuses. */
async function answer<T>(request: Promise<Response>): Promise<T> {
  const response = await request;
  const body: unknown = await response.json().catch(() => null);
  if (response.ok && body !== null) return body as T;
  const detail = (body as { detail?: string } | null)?.detail;
  throw new Error(detail ?? `the server answered ${response.status}`);
}

const PAGE_TOPICS = 500;
const PAGE_STREAMS = 200;
