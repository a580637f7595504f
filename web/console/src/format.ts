// Numbers as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const small = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** How a value is written, and which steps the axis of a plot may have so that its ticks are round in that writing. */
export interface Format {
  readonly text: (value: number) => string;
  readonly steps: readonly number[];
}

/** `20,412` */
export const count = (value: number): string => whole.format(value);

/** `1.2K` */
export const rate = (value: number): string => (value < 1000 ? small.format(value) : short.format(value));

/** `8 MiB` */
export function bytes(value: number): string {
  const power = value < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(value) / 10));
  return `${small.format(value / 1024 ** power)} ${UNITS[power]}`;
}

const decimal = Array.from({ length: 13 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();
const binary = Array.from({ length: 50 }, (_, power) => 2 ** power);

export const COUNT: Format = { text: count, steps: decimal };
export const RATE: Format = { text: rate, steps: [0.1, 0.2, 0.5, ...decimal] };
export const BYTES: Format = { text: bytes, steps: binary };
