// The figures of the last hour, in columns as a plot takes them. It has no clock: the figures bring their times.

/** An event of $sys/stats, as PROTOCOL.md has it. */
export interface Figures {
  readonly time: string;
  readonly interval_ms: number;
  readonly published_per_second: number;
  readonly delivered_per_second: number;
  readonly subscribers: Readonly<Record<Transport, number>>;
  readonly channels: number;
  readonly topics: number;
  readonly events: number;
  readonly log_bytes: number;
  readonly bodies_bytes: number;
  readonly memory_bytes: number | null;
  readonly streams_running: number;
}

export type Transport = "sse" | "ndjson" | "websocket" | "long_poll";

/** Gives one value of the figures. */
export type Column = (figures: Figures) => number | null;

/** Times in seconds, then each column's values: null where nothing is known. */
export type Columns = [number[], ...(number | null)[][]];

export class History {
  #figures: Figures[] = [];
  #times: number[] = [];

  /** The newest figures. */
  get latest(): Figures | undefined {
    return this.#figures.at(-1);
  }

  /** The time of the newest figures, in seconds; 0 where there are none. */
  get end(): number {
    return this.#times.at(-1) ?? 0;
  }

  /** Takes figures in, and forgets what is older than an hour. Those that are not newer than the last are passed over. */
  add(figures: Figures): boolean {
    const time = Date.parse(figures.time) / 1000;
    if (!(time > this.end)) return false;
    this.#figures.push(figures);
    this.#times.push(time);
    const from = this.#times.findIndex((kept) => kept >= time - KEPT_SECONDS);
    this.#figures.splice(0, from);
    this.#times.splice(0, from);
    return true;
  }

  clear(): void {
    this.#figures = [];
    this.#times = [];
  }

  /** The last `seconds` of these columns, and one older row, so that lines begin at the edge. */
  columns(seconds: number, columns: readonly Column[]): Columns {
    const first = this.#times.findIndex((time) => time >= this.end - seconds);
    const times: number[] = [];
    const values = columns.map((column) => ({ column, values: [] as (number | null)[] }));
    const push = (time: number, value: (column: Column) => number | null) => {
      times.push(time);
      for (const { column, values: into } of values) into.push(value(column));
    };
    let before: number | undefined;
    for (let index = Math.max(0, first - 1); index < this.#times.length; index += 1) {
      const [time, figures] = [this.#times[index], this.#figures[index]];
      if (time === undefined || figures === undefined) continue;
      // The server was not there: no line leads over that.
      if (before !== undefined && time - before > BREAK_SECONDS) push(before + 1, () => null);
      push(time, (column) => column(figures));
      before = time;
    }
    return [times, ...values.map(({ values }) => values)];
  }
}

const KEPT_SECONDS = 60 * 60;
/** Longer than the ten seconds between the figures that were taken while nobody followed. */
const BREAK_SECONDS = 15;
