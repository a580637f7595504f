// Random numbers that are the same for the same seed.

/** A small generator (mulberry32), seeded by a text. Good enough to choose where to cut; for nothing that is secret. */
export class Random {
  #state;

  constructor(seed) {
    // FNV-1a, so that seeds that differ little lead to numbers that differ much.
    this.#state = 0x811c9dc5;
    for (const byte of Buffer.from(String(seed))) this.#state = Math.imul(this.#state ^ byte, 0x01000193) >>> 0;
  }

  /** A whole number from 0 to `bound`, without `bound`. */
  below(bound) {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  }

  /** One of these. */
  pick(choices) {
    return choices[this.below(choices.length)];
  }
}
