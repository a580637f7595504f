// The frame around every page: the way from one to another, and whether the server is there.

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { Overview } from "./overview.tsx";
import { follow, usePath } from "./router.ts";
import { useFigures } from "./stats.ts";
import { Streams } from "./streams.tsx";
import { Topics } from "./topics.tsx";

const PAGES = [
  { path: "/", title: "Overview" },
  { path: "/console/topics", title: "Topics" },
  { path: "/console/streams", title: "Streams" },
] as const;

export function App(): JSX.Element {
  const path = usePath();
  const figures = useFigures();
  const page = PAGES.find((page) => page.path === path);
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  useEffect(() => {
    document.title = page ? `${page.title} · Longwave` : "Longwave";
    // Who came by the keyboard, or hears the page, goes on at its beginning; but not before having moved at all.
    if (!isFirst.current) main.current?.focus();
    isFirst.current = false;
  }, [page]);
  return (
    <>
      <a class="skip" href="#main">Skip to the page</a>
      <header>
        <strong class="name">Longwave</strong>
        <nav aria-label="Pages">
          {PAGES.map(({ path: to, title }) => (
            <a href={to} key={to} onClick={follow} aria-current={to === path ? "page" : undefined}>{title}</a>
          ))}
        </nav>
        <span class="state" role="status" data-state={figures.connection}>{figures.connection}</span>
      </header>
      <main id="main" tabIndex={-1} ref={main}>
        {page?.path === "/" && <Overview figures={figures} />}
        {page?.path === "/console/topics" && <Topics />}
        {page?.path === "/console/streams" && <Streams />}
        {!page && (
          <>
            <h1>There is no such page</h1>
            <p>Perhaps you look for <a href="/" onClick={follow}>the overview</a>.</p>
          </>
        )}
      </main>
      <footer>
        <a href="/openapi.json">OpenAPI</a> <a href="/metrics">metrics</a> <a href="/health">health</a>{" "}
        <a href="/console/licences.md">licences</a>
      </footer>
    </>
  );
}
