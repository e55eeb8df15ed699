/** The ledger in SQLite, in the catalog's file. */
import type Database from "better-sqlite3";
import type {
  Entry,
  Ledger,
  Outcome,
  SpendCourse,
  SpendKey,
  SpendQuery,
  SpendRow,
  SpendSlice,
  Spender,
  SpentRow,
  Standing,
} from "./ledger.ts";
import { migrateLedger } from "./ledgerTables.ts";

const hourMs = 60 * 60 * 1000;

/** How many entries are folded at once: less than ten milliseconds of work. */
const foldBatch = 500;

/** Entries that one step of a sum reads: a millisecond or two of work. */
const entriesPerStep = 500;

/** Distinct sums an hour may have. User agents and repository names are the clients' to choose, so they need a bound. */
const sumsPerHour = 2000;

/** The key of what is over that bound. */
const others = "(others)";

interface Sum extends Spender {
  readonly spent: number;
  readonly refused: number;
}

/** What the columns of a key are called, here and nowhere else. */
const columns: Readonly<Record<SpendKey, string>> = {
  client: "client",
  repository: "upstream || '/' || repository",
  userAgent: "user_agent",
  reason: "reason",
};

const sumKey =
  "upstream = @upstream AND repository = @repository AND client = @client AND user_agent = @userAgent";

/** An hour, or what is left of it after `since`, of one upstream or of all. */
interface SpentHour {
  readonly upstream: string | null;
  readonly since: number;
  readonly hour: number;
  readonly end: number;
}

/** The entry after which the next step goes on. */
interface Place {
  readonly lastAt: number;
  readonly id: number;
}

/**
 * Works on an open handle, which stays the caller's to close.
 *
 * The handle's `synchronous = NORMAL` (WAL) is enough: an entry is in the operating system's hands before its request is
 * sent, so killing the process loses nothing. A power cut may lose the last seconds of entries. They are not paid for
 * with an fsync per pull, because the loss does not go unnoticed: what was spent is missing from the upstream's
 * `remaining`, and the first answer after the start, which most often is to a HEAD and free, corrects the reckoning.
 */
export class SqliteLedger implements Ledger {
  readonly #database: Database.Database;
  readonly #statements: ReturnType<typeof prepare>;
  readonly #sums = new Map<number, number>();
  #folds = 0;

  /** @throws LedgerError when a newer Hubcap wrote the tables. */
  constructor(database: Database.Database) {
    migrateLedger(database);
    this.#database = database;
    this.#statements = prepare(database);
  }

  async spend(entry: Entry): Promise<number> {
    return Number(this.#statements.spend.run(entry).lastInsertRowid);
  }

  async settle(id: number, outcome: Exclude<Outcome, "sent">, time: number, cost: number): Promise<void> {
    this.#statements.settle.run({ id, outcome, time, cost });
  }

  async recover(bucket: string, time: number): Promise<void> {
    this.#statements.recover.run({ bucket, time });
  }

  async rowsSince(bucket: string, time: number): Promise<readonly SpentRow[]> {
    return this.#statements.rowsSince.all({ bucket, time });
  }

  async latest(bucket: string): Promise<number | undefined> {
    return this.#statements.latest.get({ bucket })?.time ?? undefined;
  }

  async standing(bucket: string): Promise<Standing | undefined> {
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

  async keep(bucket: string, standing: Standing): Promise<void> {
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
    for (let next: number | undefined = since; (next = this.#hourFrom(next)) !== undefined; next += hourMs) {
      const hour = {
        upstream: upstream ?? null,
        since: Math.max(since, next),
        hour: next,
        end: next + hourMs,
      };
      for (const row of await this.#spentIn(hour, by)) addTo(rows, row);
    }
    return [...rows.values()].toSorted(mostFirst).slice(0, 1000);
  }

  async spendOver({ upstream, since, stepMs }: SpendCourse): Promise<readonly SpendSlice[]> {
    const slices = new Map<number, number>();
    for (let next: number | undefined = since; (next = this.#hourFrom(next)) !== undefined; next += hourMs) {
      const hour = { upstream, since: Math.max(since, next), hour: next, end: next + hourMs, stepMs };
      for (const { at, spent } of this.#statements.spendOver.all(hour)) {
        slices.set(at, (slices.get(at) ?? 0) + spent);
      }
      await new Promise(setImmediate);
    }
    return [...slices].map(([at, spent]) => ({ at, spent }));
  }

  /** What was spent in an hour, some entries at a time, so that nothing else waits for long. */
  async #spentIn(hour: SpentHour, by: SpendKey): Promise<Iterable<SpendRow>> {
    for (;;) {
      const folds = this.#folds;
      const rows = new Map<string, SpendRow>();
      for (const row of this.#statements.summed[by].all(hour)) addTo(rows, row);
      let last: Place | undefined = { lastAt: hour.since, id: 0 };
      while (last) {
        const some: (SpendRow & Place)[] = this.#statements.entered[by].all({
          ...hour,
          ...last,
          count: entriesPerStep,
        });
        for (const row of some) addTo(rows, row);
        await new Promise(setImmediate);
        last = some.length < entriesPerStep ? undefined : some.at(-1);
      }
      // What was folded meanwhile has moved from the entries to the sums, and may have been missed.
      if (folds === this.#folds) return rows.values();
    }
  }

  async fold(bucket: string, time: number): Promise<number> {
    this.#folds += 1;
    return this.#database
      .transaction(() => {
        const batch = { bucket, time, count: foldBatch };
        for (const sum of this.#statements.oldest.all(batch)) this.#add(sum);
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

type StoredStanding = {
  [key in keyof Standing]:
    | Exclude<Standing[key], undefined>
    | (undefined extends Standing[key] ? null : never);
};

function prepare(database: Database.Database) {
  const oldest = `SELECT id FROM quota_entry WHERE bucket = @bucket AND time < @time AND outcome <> 'sent'
    ORDER BY time LIMIT @count`;
  const ofUpstream = "(@upstream IS NULL OR upstream = @upstream)";
  const summed = (by: SpendKey) =>
    database.prepare<[SpentHour], SpendRow>(
      `SELECT ${columns[by]} AS key, sum(spent) AS spent, sum(refused) AS refused, max(last_at) AS lastAt
       FROM quota_hour WHERE hour = @hour AND ${ofUpstream} GROUP BY key`,
    );
  const entered = (by: SpendKey) =>
    database.prepare<[SpentHour & Place & { count: number }], SpendRow & Place>(
      `SELECT id, ${columns[by]} AS key, cost AS spent, 0 AS refused, at AS lastAt FROM quota_entry
       WHERE (at, id) > (@lastAt, @id) AND at < @end AND cost > 0 AND ${ofUpstream} ORDER BY at, id LIMIT @count`,
    );
  return {
    spend: database.prepare<[Entry]>(
      `INSERT INTO quota_entry (bucket, time, at, cost, outcome, upstream, repository, client, user_agent, reason)
       VALUES (@bucket, @time, @at, @cost, 'sent', @upstream, @repository, @client, @userAgent, @reason)`,
    ),
    settle: database.prepare<[{ id: number; outcome: string; time: number; cost: number }]>(
      "UPDATE quota_entry SET outcome = @outcome, time = @time, cost = @cost WHERE id = @id",
    ),
    recover: database.prepare<[{ bucket: string; time: number }]>(
      "UPDATE quota_entry SET outcome = 'failed', time = @time WHERE bucket = @bucket AND outcome = 'sent'",
    ),
    rowsSince: database.prepare<[{ bucket: string; time: number }], SpentRow>(
      `SELECT id, time, at, cost, outcome FROM quota_entry
       WHERE bucket = @bucket AND time >= @time AND cost > 0 ORDER BY time, id`,
    ),
    latest: database.prepare<[{ bucket: string }], { time: number | null }>(
      `SELECT max(time) AS time FROM (
         SELECT max(time) AS time FROM quota_entry WHERE bucket = @bucket
         UNION ALL SELECT time FROM quota_standing WHERE bucket = @bucket)`,
    ),
    standing: database.prepare<[{ bucket: string }], StoredStanding>(
      `SELECT time, at, quota AS "limit", window_ms AS windowMs, learnt_from AS learntFrom, remaining, since,
         observed_at AS observedAt, source, saved_pulls AS savedPulls, saved_bytes AS savedBytes,
         paused_until AS pausedUntil, empty_until AS emptyUntil
       FROM quota_standing WHERE bucket = @bucket`,
    ),
    keep: database.prepare<[StoredStanding & { bucket: string }]>(
      `INSERT OR REPLACE INTO quota_standing VALUES (@bucket, @time, @at, @limit, @windowMs, @learntFrom, @remaining,
         @since, @observedAt, @source, @savedPulls, @savedBytes, @pausedUntil, @emptyUntil)`,
    ),
    find: database.prepare<[Sum & { hour: number }], { spent: number }>(
      `SELECT spent FROM quota_hour WHERE hour = @hour AND ${sumKey} AND reason = @reason`,
    ),
    count: database.prepare<[{ hour: number }], { count: number }>(
      "SELECT count(*) AS count FROM quota_hour WHERE hour = @hour",
    ),
    add: database.prepare<[Sum & { hour: number }]>(
      `INSERT INTO quota_hour VALUES
         (@hour, @upstream, @repository, @client, @userAgent, @reason, @spent, @refused, @at)
       ON CONFLICT DO UPDATE SET spent = spent + excluded.spent, refused = refused + excluded.refused,
         last_at = max(last_at, excluded.last_at)`,
    ),
    oldest: database.prepare<[{ bucket: string; time: number; count: number }], Sum>(
      `SELECT max(at) AS at, upstream, repository, client, user_agent AS userAgent, reason,
         sum(cost) AS spent, 0 AS refused
       FROM quota_entry WHERE id IN (${oldest}) AND cost > 0
       GROUP BY at / ${hourMs}, upstream, repository, client, user_agent, reason`,
    ),
    deleteOldest: database.prepare<[{ bucket: string; time: number; count: number }]>(
      `DELETE FROM quota_entry WHERE id IN (${oldest})`,
    ),
    first: database.prepare<[{ at: number; hour: number }], { at: number | null }>(
      `SELECT min(at) AS at FROM (
         SELECT min(at) AS at FROM quota_entry WHERE at >= @at
         UNION ALL SELECT min(hour) FROM quota_hour WHERE hour >= @hour)`,
    ),
    forget: database.prepare<[{ at: number }]>("DELETE FROM quota_hour WHERE hour < @at"),
    // A bound number is a REAL to SQLite, and its division would not be whole.
    spendOver: database.prepare<
      [{ upstream: string; since: number; hour: number; end: number; stepMs: number }],
      SpendSlice
    >(
      `SELECT CAST(at / @stepMs AS INTEGER) * @stepMs AS at, sum(spent) AS spent FROM (
         SELECT at, cost AS spent FROM quota_entry
         WHERE at >= @since AND at < @end AND cost > 0 AND upstream = @upstream
         UNION ALL
         SELECT hour, spent FROM quota_hour WHERE hour = @hour AND spent > 0 AND upstream = @upstream
       ) GROUP BY 1 ORDER BY 1`,
    ),
    summed: {
      client: summed("client"),
      repository: summed("repository"),
      userAgent: summed("userAgent"),
      reason: summed("reason"),
    },
    entered: {
      client: entered("client"),
      repository: entered("repository"),
      userAgent: entered("userAgent"),
      reason: entered("reason"),
    },
  };
}
