/** How the last day's requests were answered, by slices of time. In memory, of fixed size (a third of a MiB). */

const kinds = ["hit", "join", "stale", "miss", "error"] as const;

/** How a request for a manifest or a blob was answered. */
export type HistoryOutcome = (typeof kinds)[number];

/** Sums over a span of time. */
export type Sums = Readonly<Record<HistoryOutcome, number>> & {
  /** Bytes that clients got without a request upstream. */
  readonly savedBytes: number;
};

/** Sums over the span that begins at `at`, in ms since the epoch. */
export type Span = Sums & { readonly at: number };

/** How fine the history is, in ms. */
export const sliceMs = 10_000;

const slices = (24 * 60 * 60 * 1000) / sliceMs;

export class History {
  /** The slice of time that each index of the ring holds now; 0 is none. */
  readonly #held = new Float64Array(slices);
  readonly #counts = new Uint32Array(slices * kinds.length);
  readonly #saved = new Float64Array(slices);
  readonly #now: () => number;
  #first: number | undefined;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** When the first request was answered, to the slice; undefined before. */
  get since(): number | undefined {
    return this.#first;
  }

  /** Counts an answer. */
  count(answered: HistoryOutcome, savedBytes: number): void {
    const slice = Math.floor(this.#now() / sliceMs);
    this.#first ??= slice * sliceMs;
    const place = slice % slices;
    if (this.#held[place] !== slice) {
      this.#held[place] = slice;
      this.#counts.fill(0, place * kinds.length, (place + 1) * kinds.length);
      this.#saved[place] = 0;
    }
    const at = place * kinds.length + kinds.indexOf(answered);
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#saved[place] = (this.#saved[place] ?? 0) + savedBytes;
  }

  /** Sums over each `stepMs` (whole slices) of the last `spans` of them, oldest first; the last one is still running. */
  spans(stepMs: number, spans: number): readonly Span[] {
    const last = Math.floor(this.#now() / stepMs);
    return Array.from({ length: spans }, (_, index) => {
      const at = (last - spans + 1 + index) * stepMs;
      return { at, ...this.#sum(at / sliceMs, stepMs / sliceMs) };
    });
  }

  /** Sums over the last `ms`, to the slice. */
  total(ms: number): Sums {
    const count = Math.ceil(ms / sliceMs);
    return this.#sum(Math.floor(this.#now() / sliceMs) - count + 1, count);
  }

  #sum(from: number, count: number): Sums {
    const sums = { hit: 0, join: 0, stale: 0, miss: 0, error: 0, savedBytes: 0 };
    for (let slice = from; slice < from + count; slice += 1) {
      const place = slice % slices;
      // It may hold the slice of a day before, or none yet.
      if (this.#held[place] !== slice) continue;
      for (const [index, kind] of kinds.entries()) {
        sums[kind] += this.#counts[place * kinds.length + index] ?? 0;
      }
      sums.savedBytes += this.#saved[place] ?? 0;
    }
    return sums;
  }
}
