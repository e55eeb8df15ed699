/** The ledger in SQLite, in the state's file. */
import type Database from "better-sqlite3";
import {
  addUp,
  type LedgerEntry,
  type Ledger,
  type EntryOutcome,
  type SpendCourse,
  type SpendKey,
  type SpendQuery,
  type SpendRow,
  type SpendSlice,
  type Spender,
  type SpentRow,
  type Unproven,
  type SavedBucket,
} from "../../quota/ledger.ts";
import { hourMs, prepareLedger, type Position, type SpentHour, type Sum } from "./ledgerStatements.ts";
import type { Run, SqliteFile } from "./database.ts";

/** How many entries are folded at once: less than ten milliseconds of work. */
const foldBatch = 500;

/** Entries that one step of a sum reads: a millisecond or two of work. */
const entriesPerStep = 500;

/** Distinct sums an hour may have. User agents and repository names are the clients' to choose, so they need a bound. */
const sumsPerHour = 2000;

/** The key of what is over that bound. */
const others = "(others)";

function prepare(database: Database.Database) {
  const sql = prepareLedger(database);
  const sums = new Map<number, number>();
  /** Adds to the sums of an hour; to those of all others, where the hour has too many. */
  const add = (sum: Sum): void => {
    const hour = hourOf(sum.at);
    const known = sums.get(hour) ?? sql.count.get({ hour })?.count ?? 0;
    const isNew = sql.find.get({ ...sum, hour }) === undefined;
    const taken =
      isNew && known >= sumsPerHour ? { ...sum, repository: others, client: others, userAgent: others } : sum;
    sql.add.run({ ...taken, hour });
    // Few hours are added to at a time: the running one, and the one that is being folded.
    if (sums.size > 8) sums.clear();
    sums.set(hour, isNew && known < sumsPerHour ? known + 1 : known);
  };
  return { ...sql, database, addSum: add };
}

/**
 * The file's `synchronous = NORMAL` (WAL) is enough for most: an entry is in the operating system's hands before its
 * request is sent, so killing the process loses nothing. A power cut may lose the last seconds of entries. Where the
 * upstream says what is left, they are not paid for with an fsync per pull: what was spent is missing from its
 * `remaining`, and the first answer after the start, which most often is to a HEAD and free, corrects the count.
 * Where no one but this file knows what was spent, an entry must last, and is synced.
 */
export class SqliteLedger implements Ledger {
  readonly #run: Run<ReturnType<typeof prepare>>;
  /** The hours that are being read, each by somebody who has to know when entries of it are folded. */
  readonly #readings = new Set<{ readonly hour: number; isStale: boolean }>();

  constructor(file: SqliteFile) {
    this.#run = file.with(prepare);
  }

  spend(entry: LedgerEntry, mustLast = false): Promise<number> {
    return this.#run(({ database, spend }) => {
      if (!mustLast) return Number(spend.run(entry).lastInsertRowid);
      database.pragma("synchronous = FULL");
      try {
        return Number(spend.run(entry).lastInsertRowid);
      } finally {
        database.pragma("synchronous = NORMAL");
      }
    });
  }

  async settle(
    id: number,
    outcome: Exclude<EntryOutcome, "sent">,
    time: number,
    cost: number,
  ): Promise<void> {
    await this.#run((sql) => sql.settle.run({ id, outcome, time, cost }));
  }

  async recover(bucket: string, time: number): Promise<void> {
    await this.#run((sql) => sql.recover.run({ bucket, time }));
  }

  async rowsSince(bucket: string, time: number, exact = time): Promise<readonly SpentRow[]> {
    return this.#run((sql) => addUp(sql.rowsSince.iterate({ bucket, time, exact }), exact));
  }

  async latest(bucket: string): Promise<number | undefined> {
    return this.#run((sql) => sql.latest.get({ bucket })?.time ?? undefined);
  }

  async state(bucket: string): Promise<SavedBucket | undefined> {
    const row = await this.#run((sql) => sql.saved.get({ bucket }));
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
      setAsides: JSON.parse(row.setAsides),
    };
  }

  async keep(bucket: string, saved: SavedBucket): Promise<void> {
    const { limit = null, remaining = null, observedAt = null, source = null } = saved;
    const { pausedUntil = null, emptyUntil = null } = saved;
    const setAsides = JSON.stringify(saved.setAsides);
    const known = { limit, remaining, observedAt, source, pausedUntil, emptyUntil, setAsides };
    await this.#run((sql) => sql.keep.run({ ...saved, bucket, ...known }));
  }

  async refuse(spender: Spender): Promise<void> {
    await this.#run((sql) => sql.addSum({ ...spender, spent: 0, refused: 1 }));
  }

  async spendBy({ by, upstream, since }: SpendQuery): Promise<readonly SpendRow[]> {
    const rows = new Map<string, SpendRow>();
    for await (const hour of this.#hours(upstream, since)) {
      for (const row of await this.#spentIn(hour, by, ({ key }) => key)) addTo(rows, row);
    }
    return [...rows.values()].toSorted(mostFirst).slice(0, 1000);
  }

  async spendOver({ upstream, since, stepMs }: SpendCourse): Promise<readonly SpendSlice[]> {
    const slices = new Map<number, number>();
    const sliceOf = (_: SpendRow, at: number): string => String(Math.floor(at / stepMs) * stepMs);
    for await (const hour of this.#hours(upstream, since)) {
      for (const { key, spent } of await this.#spentIn(hour, "reason", sliceOf)) {
        if (spent > 0) slices.set(Number(key), (slices.get(Number(key)) ?? 0) + spent);
      }
    }
    return [...slices].map(([at, spent]) => ({ at, spent }));
  }

  /** The hours since that of `since` in which anything was written down. */
  async *#hours(upstream: string | undefined, since: number): AsyncIterable<SpentHour> {
    for (
      let next: number | undefined = since;
      (next = await this.#hourFrom(next)) !== undefined;
      next += hourMs
    ) {
      yield { upstream: upstream ?? null, since: Math.max(since, next), hour: next, end: next + hourMs };
    }
  }

  /**
   * What was spent in an hour, some entries at a time, so that nothing else waits for long. `keyOf` gives what to sum by:
   * it is the time when a row was spent, or the hour where that is all that is known.
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
        for (const row of await this.#run((sql) => sql.summed[by].all(hour))) take(row, hour.hour);
        let last: Position | undefined = { lastAt: hour.since, id: 0 };
        while (last) {
          const next = { ...hour, ...last, count: entriesPerStep };
          const some: (SpendRow & Position)[] = await this.#run((sql) => sql.entered[by].all(next));
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

  fold(bucket: string, time: number): Promise<number> {
    return this.#run(({ database, oldest, deleteOldest, addSum }) =>
      database
        .transaction(() => {
          const batch = { bucket, time, count: foldBatch };
          for (const sum of oldest.all(batch)) {
            addSum(sum);
            for (const reading of this.#readings) reading.isStale ||= reading.hour === hourOf(sum.at);
          }
          return deleteOldest.run(batch).changes;
        })
        .immediate(),
    );
  }

  async forget(at: number): Promise<void> {
    await this.#run((sql) => sql.forget.run({ at }));
  }

  async unproven(bucket: string, time: number, at: number): Promise<Unproven | undefined> {
    return this.#run((sql) => {
      if ((sql.unprovenSince.get() ?? undefined) === undefined) return undefined;
      sql.openUnproven.run({ bucket, time, at });
      return sql.unproven.get({ bucket });
    });
  }

  /** The first hour since that of `at` in which anything was written down. */
  async #hourFrom(at: number): Promise<number | undefined> {
    const first = await this.#run((sql) => sql.first.get({ at, hour: hourOf(at) })?.at ?? undefined);
    return first === undefined ? undefined : hourOf(first);
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
