// A list of any length: only the rows that can be seen are in the page.

import type { ComponentChildren, JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

interface ListProps<Row> {
  readonly label: string;
  /** Which widths the columns have, as a class. */
  readonly kind: "topics" | "streams";
  readonly columns: readonly string[];
  readonly rows: readonly Row[];
  /** How many rows there will be; unknown where there are more than `rows` has. */
  readonly more: boolean;
  readonly keyOf: (row: Row) => string;
  readonly cells: (row: Row) => readonly ComponentChildren[];
  /** The end of `rows` comes into view, and there is more. */
  readonly onEnd: () => void;
}

export function List<Row>({ label, kind, columns, rows, more, keyOf, cells, onEnd }: ListProps<Row>): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 0 });
  const look = () => {
    const element = box.current;
    if (element) setView({ top: element.scrollTop, height: element.clientHeight });
  };
  useLayoutEffect(() => {
    const resized = new ResizeObserver(look);
    if (box.current) resized.observe(box.current);
    return () => resized.disconnect();
  }, []);
  const first = Math.max(0, Math.floor(view.top / ROW_PX) - OVERSCAN);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / ROW_PX) + OVERSCAN);
  useLayoutEffect(() => {
    if (more && last + AHEAD >= rows.length) onEnd();
  }, [more, last, rows.length, onEnd]);
  return (
    <div role="table" aria-label={label} aria-rowcount={more ? -1 : rows.length + 1} class={`list ${kind}`}>
      <div role="rowgroup">
        <div role="row" aria-rowindex={1} class="row head">
          {columns.map((column) => <span role="columnheader" key={column}>{column}</span>)}
        </div>
      </div>
      <div role="rowgroup" class="rows" ref={box} onScroll={look} tabIndex={0} aria-label={`${label}, the rows`}>
        <div role="presentation" class="space" style={{ height: `${rows.length * ROW_PX}px` }}>
          {rows.slice(first, last).map((row, index) => (
            <div
              role="row"
              aria-rowindex={first + index + 2}
              class="row"
              key={keyOf(row)}
              style={{ top: `${(first + index) * ROW_PX}px`, height: `${ROW_PX}px` }}
            >
              {cells(row).map((cell, column) => <span role="cell" key={columns[column]}>{cell}</span>)}
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}

const ROW_PX = 36;
/** Rows above and below what is seen, so that scrolling shows no blank. */
const OVERSCAN = 8;
/** How many rows before the end of what was loaded the next are asked for. */
const AHEAD = 100;
