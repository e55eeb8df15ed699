/** One request as the reckoning knows it, and how several become one where nobody needs them one by one. */

/** One request in the reckoning; costs are whole pulls, times are the ledger's. */
export interface WindowRow {
  readonly cost: number;
  readonly sentAt: number;
  readonly carried: boolean;
  /** When it was settled; for a carried row that the wall clock knows better, when that was: an estimate. */
  readonly expectedAt: number;
  readonly settledAt: number;
  /** The upstream surely counted it. */
  readonly counted: boolean;
  /** What the upstream said last takes it into account. */
  readonly covered: boolean;
  /** The ledger's number of it, once written. */
  id: number | undefined;
}

/** The same as the books change it. */
export interface MutableRow extends WindowRow {
  readonly tick: number;
  cost: number;
  sentAt: number;
  settledTick: number;
  expectedAt: number;
  settledAt: number;
  counted: boolean;
  covered: boolean;
}

/** Adds `row` to an older one, if both were settled in the same second and nothing tells them apart. */
export function mergeInto(older: MutableRow | undefined, row: MutableRow): boolean {
  if (!older || Math.floor(older.settledAt / 1000) !== Math.floor(row.settledAt / 1000)) return false;
  if (older.carried !== row.carried || older.covered !== row.covered) return false;
  older.cost += row.cost;
  // In each respect the one of which less can be hoped for.
  older.sentAt = Math.min(older.sentAt, row.sentAt);
  older.expectedAt = Math.max(older.expectedAt, row.expectedAt);
  older.settledAt = row.settledAt;
  older.settledTick = Math.max(older.settledTick, row.settledTick);
  older.counted &&= row.counted;
  if (row.id !== undefined) older.id = Math.min(older.id ?? row.id, row.id);
  return true;
}

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
