// A plot of some columns of the figures, by uPlot, with their present values in words under it.

import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import type { Format } from "./format.ts";
import type { Column } from "./history.ts";
import type { ServerFigures } from "./stats.ts";

export interface Line {
  readonly label: string;
  readonly column: Column;
}

interface PlotProps {
  readonly title: string;
  readonly lines: readonly Line[];
  readonly format: Format;
  readonly figures: ServerFigures;
  readonly seconds: number;
}

export function Plot({ title, lines, format, figures, seconds }: PlotProps): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const scheme = useScheme();
  const { history, revision } = figures;

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const made = new uPlot(options(element, lines, format), [[], ...lines.map(() => [])], element);
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    resized.observe(element);
    return () => {
      resized.disconnect();
      made.destroy();
    };
  }, [lines, format, scheme]);

  useEffect(() => {
    const made = plot.current;
    if (!made) return;
    made.batch(() => {
      made.setData(history.columns(seconds, lines.map((line) => line.column)), false);
      made.setScale("x", { min: history.end - seconds, max: history.end });
    });
  }, [history, revision, seconds, lines, format, scheme]);

  const { latest } = history;
  return (
    <figure class="card">
      <figcaption>{title}</figcaption>
      <div ref={box} class="plot" role="img" aria-label={`${title}, plotted over time. The present values follow.`} />
      <ul class="legend">
        {lines.map((line, index) => {
          const value = latest ? line.column(latest) : null;
          return (
            <li key={line.label} class={`line-${index + 1}`}>
              <span>{line.label}</span> <output>{value === null ? "–" : format.text(value)}</output>
            </li>
          );
        })}
      </ul>
    </figure>
  );
}

function options(element: HTMLElement, lines: readonly Line[], format: Format): uPlot.Options {
  const style = getComputedStyle(element);
  const variable = (name: string) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: variable("--soft"),
    grid: { stroke: variable("--line"), width: 1 },
    ticks: { show: false },
    font: `12px ${style.fontFamily}`,
  };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_, __, max) => [0, Math.max(1, (max ?? 0) * 1.1)] } },
    axes: [
      { ...axis, space: 70, size: 28, values: (_, times) => times.map((time) => clock.format(time * 1000)) },
      { ...axis, size: 72, incrs: [...format.steps], values: (_, values) => values.map(format.text) },
    ],
    series: [
      {},
      ...lines.map((line, index) => ({
        label: line.label,
        stroke: variable(`--line-${index + 1}`),
        width: 2,
        points: { show: false },
      })),
    ],
  };
}

/** Changes with the system's choice of light or dark: a canvas does not follow it by itself. */
function useScheme(): boolean {
  const [dark] = useState(() => matchMedia("(prefers-color-scheme: dark)"));
  const [isDark, setDark] = useState(dark.matches);
  useEffect(() => {
    const changed = () => setDark(dark.matches);
    dark.addEventListener("change", changed);
    return () => dark.removeEventListener("change", changed);
  }, [dark]);
  return isDark;
}

const HEIGHT = 200;
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
