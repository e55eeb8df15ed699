/** The ledger in SQLite, in the catalog's file. */
import type Database from "better-sqlite3";
import {
  addUp,
  type LedgerEntry,
  type Ledger,
  type Outcome,
  type SpendCourse,
  type SpendKey,
  type SpendQuery,
  type SpendRow,
  type SpendSlice,
  type Spender,
  type SpentRow,
  type SavedBucket,
} from "../../quota/ledger.ts";
import { hourMs, prepareLedger, type Place, type SpentHour, type Sum } from "./ledgerStatements.ts";
import { migrateLedger } from "./ledgerTables.ts";

/** How many entries are folded at once: less than ten milliseconds of work. */
const foldBatch = 500;

/** Entries that one step of a sum reads: a millisecond or two of work. */
const entriesPerStep = 500;

/** Distinct sums an hour may have. User agents and repository names are the clients' to choose, so they need a bound. */
const sumsPerHour = 2000;

/** The key of what is over that bound. */
const others = "(others)";

/**
 * Works on an open handle, which stays the caller's to close.
 *
 * The handle's `synchronous = NORMAL` (WAL) is enough for most: an entry is in the operating system's hands before its
 * request is sent, so killing the process loses nothing. A power cut may lose the last seconds of entries. Where the
 * upstream says what is left, they are not paid for with an fsync per pull: what was spent is missing from its
 * `remaining`, and the first answer after the start, which most often is to a HEAD and free, corrects the reckoning.
 * Where nobody but this file knows what was spent, an entry must last, and is synced.
 */
export class SqliteLedger implements Ledger {
  readonly #database: Database.Database;
  readonly #statements: ReturnType<typeof prepareLedger>;
  readonly #sums = new Map<number, number>();
  /** The hours that are being read, each by somebody who has to know when entries of it are folded. */
  readonly #readings = new Set<{ readonly hour: number; isStale: boolean }>();

  /** @throws LedgerError when a newer Hubcap wrote the tables. */
  constructor(database: Database.Database) {
    migrateLedger(database);
    this.#database = database;
    this.#statements = prepareLedger(database);
  }

  async spend(entry: LedgerEntry, mustLast = false): Promise<number> {
    if (!mustLast) return this.#insert(entry);
    this.#database.pragma("synchronous = FULL");
    try {
      return this.#insert(entry);
    } finally {
      this.#database.pragma("synchronous = NORMAL");
    }
  }

  async settle(id: number, outcome: Exclude<Outcome, "sent">, time: number, cost: number): Promise<void> {
    this.#statements.settle.run({ id, outcome, time, cost });
  }

  async recover(bucket: string, time: number): Promise<void> {
    this.#statements.recover.run({ bucket, time });
  }

  async rowsSince(bucket: string, time: number, exact = time): Promise<readonly SpentRow[]> {
    return addUp(this.#statements.rowsSince.iterate({ bucket, time, exact }), exact);
  }

  async latest(bucket: string): Promise<number | undefined> {
    return this.#statements.latest.get({ bucket })?.time ?? undefined;
  }

  async state(bucket: string): Promise<SavedBucket | undefined> {
    const row = this.#statements.standing.get({ bucket });
    if (!row) return undefined;
    const { limit, remaining, observedAt, source, pausedUntil, emptyUntil } = row;
    return {
      ...row,
      limit: limit ?? undefined,
      remaining: remaining ?? undefined,
      observedAt: observedAt ?? undefined,
      source: source ?? undefined,
      pausedUntil: pausedUntil ?? undefined,
      emptyUntil: emptyUntil ?? undefined,
    };
  }

  async keep(bucket: string, standing: SavedBucket): Promise<void> {
    const { limit = null, remaining = null, observedAt = null, source = null } = standing;
    const { pausedUntil = null, emptyUntil = null } = standing;
    const known = { limit, remaining, observedAt, source, pausedUntil, emptyUntil };
    this.#statements.keep.run({ ...standing, bucket, ...known });
  }

  async refuse(spender: Spender): Promise<void> {
    this.#add({ ...spender, spent: 0, refused: 1 });
  }

  async spendBy({ by, upstream, since }: SpendQuery): Promise<readonly SpendRow[]> {
    const rows = new Map<string, SpendRow>();
    for (const hour of this.#hours(upstream, since)) {
      for (const row of await this.#spentIn(hour, by, ({ key }) => key)) addTo(rows, row);
    }
    return [...rows.values()].toSorted(mostFirst).slice(0, 1000);
  }

  async spendOver({ upstream, since, stepMs }: SpendCourse): Promise<readonly SpendSlice[]> {
    const slices = new Map<number, number>();
    const sliceOf = (_: SpendRow, at: number): string => String(Math.floor(at / stepMs) * stepMs);
    for (const hour of this.#hours(upstream, since)) {
      for (const { key, spent } of await this.#spentIn(hour, "reason", sliceOf)) {
        if (spent > 0) slices.set(Number(key), (slices.get(Number(key)) ?? 0) + spent);
      }
    }
    return [...slices].map(([at, spent]) => ({ at, spent }));
  }

  #insert(entry: LedgerEntry): number {
    return Number(this.#statements.spend.run(entry).lastInsertRowid);
  }

  /** The hours since that of `since` in which anything was written down. */
  *#hours(upstream: string | undefined, since: number): Iterable<SpentHour> {
    for (let next: number | undefined = since; (next = this.#hourFrom(next)) !== undefined; next += hourMs) {
      yield { upstream: upstream ?? null, since: Math.max(since, next), hour: next, end: next + hourMs };
    }
  }

  /**
   * What was spent in an hour, some entries at a time, so that nothing else waits for long. `keyOf` gives what to sum by:
   * it is told when a row was spent, or the hour where that is all that is known.
   */
  async #spentIn(
    hour: SpentHour,
    by: SpendKey,
    keyOf: (row: SpendRow, at: number) => string,
  ): Promise<Iterable<SpendRow>> {
    const reading = { hour: hour.hour, isStale: true };
    const rows = new Map<string, SpendRow>();
    const take = (row: SpendRow, at: number): void => addTo(rows, { ...row, key: keyOf(row, at) });
    this.#readings.add(reading);
    try {
      // What was folded meanwhile has moved from the entries to the sums, and may have been missed.
      while (reading.isStale) {
        reading.isStale = false;
        rows.clear();
        for (const row of this.#statements.summed[by].all(hour)) take(row, hour.hour);
        let last: Place | undefined = { lastAt: hour.since, id: 0 };
        while (last) {
          const some: (SpendRow & Place)[] = this.#statements.entered[by].all({
            ...hour,
            ...last,
            count: entriesPerStep,
          });
          for (const row of some) take(row, row.lastAt);
          await new Promise(setImmediate);
          last = some.length < entriesPerStep ? undefined : some.at(-1);
        }
      }
    } finally {
      this.#readings.delete(reading);
    }
    return rows.values();
  }

  async fold(bucket: string, time: number): Promise<number> {
    return this.#database
      .transaction(() => {
        const batch = { bucket, time, count: foldBatch };
        for (const sum of this.#statements.oldest.all(batch)) {
          this.#add(sum);
          for (const reading of this.#readings) reading.isStale ||= reading.hour === hourOf(sum.at);
        }
        return this.#statements.deleteOldest.run(batch).changes;
      })
      .immediate();
  }

  async forget(at: number): Promise<void> {
    this.#statements.forget.run({ at });
  }

  /** The first hour since that of `at` in which anything was written down. */
  #hourFrom(at: number): number | undefined {
    const first = this.#statements.first.get({ at, hour: hourOf(at) })?.at ?? undefined;
    return first === undefined ? undefined : hourOf(first);
  }

  /** Adds to the sums of an hour; to those of all others, where the hour has too many. */
  #add(sum: Sum): void {
    const hour = hourOf(sum.at);
    const known = this.#sums.get(hour) ?? this.#statements.count.get({ hour })?.count ?? 0;
    const isNew = this.#statements.find.get({ ...sum, hour }) === undefined;
    const taken =
      isNew && known >= sumsPerHour ? { ...sum, repository: others, client: others, userAgent: others } : sum;
    this.#statements.add.run({ ...taken, hour });
    // Few hours are added to at a time: the running one, and the one that is being folded.
    if (this.#sums.size > 8) this.#sums.clear();
    this.#sums.set(hour, isNew && known < sumsPerHour ? known + 1 : known);
  }
}

function hourOf(at: number): number {
  return Math.floor(at / hourMs) * hourMs;
}

function addTo(rows: Map<string, SpendRow>, { key, spent, refused, lastAt }: SpendRow): void {
  const known = rows.get(key);
  rows.set(key, {
    key,
    spent: spent + (known?.spent ?? 0),
    refused: refused + (known?.refused ?? 0),
    lastAt: Math.max(lastAt, known?.lastAt ?? 0),
  });
}

function mostFirst(one: SpendRow, other: SpendRow): number {
  return other.spent - one.spent || other.refused - one.refused || (one.key < other.key ? -1 : 1);
}
