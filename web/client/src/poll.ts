/** URLs and pages of long poll: what is asked, and what comes. Nothing here sends a request. */

import type { Gap } from "./events.js";

/** A page of a topic, as far as a reader of streams needs it. */
export interface Page {
  readonly events: readonly unknown[];
  readonly cursor: string;
  readonly gap?: Gap;
  readonly end: End | null;
  /** Where several topics are read. */
  readonly ends?: readonly End[];
}

interface End {
  readonly id: string;
  readonly topic?: string;
  readonly reason: string;
}

/** Whether a URL looks like one of Longwave's, whose streams begin at once and can also be had by pages. */
export function isTopicUrl(url: string): boolean {
  const { pathname, searchParams } = new URL(url);
  return /\/topics\/./.test(pathname) || (/\/events$/.test(pathname) && searchParams.has("topic"));
}

/** Asks for a page behind a position; without one, where the URL says, or else from now on. */
export function pageUrl(url: string, position: string, wait: string): string {
  return asking(url, position, { format: "json", wait });
}

/** Asks for the stream behind a position; with `count`, one that ends behind so many events. */
export function readUrl(url: string, position: string, count?: number): string {
  return asking(url, position, { format: "sse", ...(count !== undefined && { limit: `${count}` }) });
}

/** The page that an answer is; undefined where it is none. */
export async function pageOf(response: Response): Promise<Page | undefined> {
  if (!response.ok || !/^application\/json\b/i.test(response.headers.get("content-type") ?? "")) return undefined;
  const page = await response.json();
  return Array.isArray(page?.events) && typeof page.cursor === "string" ? page : undefined;
}

function asking(url: string, position: string, parameters: Record<string, string>): string {
  const asked = new URL(url);
  const { searchParams } = asked;
  const starts = STARTS.filter((name) => searchParams.has(name));
  if (position || starts.length === 0) {
    for (const name of starts) searchParams.delete(name);
    searchParams.set("after", position || "now");
  }
  for (const [name, value] of Object.entries(parameters)) searchParams.set(name, value);
  return asked.href;
}

const STARTS = ["after", "last", "since", "lastEventId", "last_event_id"];
