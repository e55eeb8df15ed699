/** The requests that a sliding window counts, and how several become one row where one by one is not needed. */

/** One request. Costs are whole pulls, times the ledger clock's. */
export interface WindowRow {
  readonly cost: number;
  readonly sentAt: number;
  /** An earlier process sent it. */
  readonly carried: boolean;
  /** When it was settled; for a carried row an estimate by the wall clock. */
  readonly expectedAt: number;
  readonly settledAt: number;
  /** The upstream surely counted it. */
  readonly counted: boolean;
  /** The upstream answered it, without what was asked for: counted by then, or never. */
  readonly refused: boolean;
  /** The upstream's last answer takes it into account. */
  readonly covered: boolean;
  /** Its number in the ledger, once written. */
  id: number | undefined;
}

/** The same, for the window to change. */
export interface MutableRow extends WindowRow {
  readonly tick: number;
  cost: number;
  sentAt: number;
  settledTick: number;
  expectedAt: number;
  settledAt: number;
  counted: boolean;
  refused: boolean;
  covered: boolean;
}

/** What an earlier process wrote of a row. */
export interface CarriedRow {
  readonly id: number;
  readonly cost: number;
  readonly settledAt: number;
  readonly expectedAt: number;
  readonly counted: boolean;
}

/** Adds `row` to an older one, if both were settled in the same second and they do not differ otherwise. */
export function mergeInto(older: MutableRow | undefined, row: MutableRow): boolean {
  if (!older || Math.floor(older.settledAt / 1000) !== Math.floor(row.settledAt / 1000)) return false;
  if (older.carried !== row.carried || older.covered !== row.covered) return false;
  older.cost += row.cost;
  // In each respect the value that frees a pull later.
  older.sentAt = Math.min(older.sentAt, row.sentAt);
  older.expectedAt = Math.max(older.expectedAt, row.expectedAt);
  older.settledAt = row.settledAt;
  older.settledTick = Math.max(older.settledTick, row.settledTick);
  older.counted &&= row.counted;
  older.refused &&= row.refused;
  if (row.id !== undefined) older.id = Math.min(older.id ?? row.id, row.id);
  return true;
}

/** Rows that have left a window, added up by the second: they count again only if the window grows. */
export class ExpiredRows {
  readonly #keepMs: number;
  /** Oldest first. */
  readonly #rows: MutableRow[] = [];

  /** Rows are dropped when they are `keep` ms old. */
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

  /** Removes and gives all. */
  takeAll(): readonly MutableRow[] {
    return this.#rows.splice(0);
  }
}
