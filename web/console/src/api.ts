// What the console asks of the server besides following topics.

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

export interface TopicPage {
  readonly topics: readonly Topic[];
  readonly next: string | null;
}

/** One page of the topics whose names begin with `prefix`, behind `after`. */
export function topics(prefix: string, after: string | null, signal: AbortSignal): Promise<TopicPage> {
  const query = new URLSearchParams({ limit: String(PAGE_TOPICS) });
  if (prefix !== "") query.set("prefix", prefix);
  if (after !== null) query.set("after", after);
  return answer(fetch(`/topics?${query}`, { signal }));
}

/** Publishes a text; the id of its event. */
export async function publish(topic: string, text: string): Promise<string> {
  const headers = { "content-type": "text/plain" };
  const published = answer<{ id: string }>(fetch(topicPath(topic), { method: "POST", headers, body: text }));
  return (await published).id;
}

/** The address of a topic whose name a person typed: what must be encoded is encoded, slashes part segments. */
export const topicPath = (name: string): string => `/topics/${name.split("/").map(encodeURIComponent).join("/")}`;

/** The JSON of an answer; an error that says what the server says where it refuses. */
async function answer<T>(request: Promise<Response>): Promise<T> {
  const response = await request;
  const body: unknown = await response.json().catch(() => null);
  if (response.ok && body !== null) return body as T;
  const detail = (body as { detail?: string } | null)?.detail;
  throw new Error(detail ?? `the server answered ${response.status}`);
}

export const PAGE_TOPICS = 500;
