// Which page is shown, as the address bar says: links within the console change it without loading it anew.

import { useEffect, useState } from "preact/hooks";

const MOVED = "console-moved";

/** The path of the page that is shown. */
export function usePath(): string {
  const [path, setPath] = useState(location.pathname);
  useEffect(() => {
    const moved = () => setPath(location.pathname);
    addEventListener("popstate", moved);
    addEventListener(MOVED, moved);
    return () => {
      removeEventListener("popstate", moved);
      removeEventListener(MOVED, moved);
    };
  }, []);
  return path;
}

/** For a link's click: goes there, unless the person asked for another tab or a download. */
export function follow(event: MouseEvent): void {
  const link = event.currentTarget;
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!(link instanceof HTMLAnchorElement) || !isPlain) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  dispatchEvent(new Event(MOVED));
}
