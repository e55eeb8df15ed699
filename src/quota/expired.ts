/** Pulls that have left a window, by the second: they count again only if the window turns out longer. */
import { mergeInto, type MutableRow } from "./row.ts";

export class ExpiredRows {
  readonly #keepMs: number;
  /** Oldest first. */
  readonly #rows: MutableRow[] = [];

  /** Rows are dropped when they are `keep` milliseconds old. */
  constructor(keep: number) {
    this.#keepMs = keep;
  }

  /** Takes rows that are younger than all it has, oldest first. */
  add(rows: readonly MutableRow[], now: number): void {
    for (const row of rows) if (!mergeInto(this.#rows.at(-1), row)) this.#rows.push(row);
    const kept = this.#rows.findIndex(({ settledAt }) => settledAt + this.#keepMs >= now);
    this.#rows.splice(0, kept < 0 ? this.#rows.length : kept);
  }

  /** Those that were settled at or after `time`. */
  since(time: number): readonly MutableRow[] {
    return this.#rows.slice(this.#rows.findLastIndex(({ settledAt }) => settledAt < time) + 1);
  }

  /** All of them, which it has no more. */
  takeAll(): readonly MutableRow[] {
    return this.#rows.splice(0);
  }
}
