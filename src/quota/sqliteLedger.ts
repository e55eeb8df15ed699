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
    // Hour by hour, so that nothing else waits for long. What is folded meanwhile stays in its hour and is seen once.
    for (let next: number | undefined = since; (next = this.#hourFrom(next)) !== undefined; next += hourMs) {
      const slice = {
        upstream: upstream ?? null,
        since: Math.max(since, next),
        hour: next,
        end: next + hourMs,
      };
      for (const row of this.#statements.spendBy[by].all(slice)) {
        const { spent = 0, refused = 0, lastAt = 0 } = rows.get(row.key) ?? {};
        rows.set(row.key, {
          key: row.key,
          spent: spent + row.spent,
          refused: refused + row.refused,
          lastAt: Math.max(lastAt, row.lastAt),
        });
      }
      await new Promise(setImmediate);
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

  async fold(bucket: string, time: number): Promise<number> {
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
  const spendBy = (by: SpendKey) =>
    database.prepare<[{ upstream: string | null; since: number; hour: number; end: number }], SpendRow>(
      `SELECT key, sum(spent) AS spent, sum(refused) AS refused, max(lastAt) AS lastAt FROM (
         SELECT ${columns[by]} AS key, cost AS spent, 0 AS refused, at AS lastAt FROM quota_entry
         WHERE at >= @since AND at < @end AND cost > 0 AND (@upstream IS NULL OR upstream = @upstream)
         UNION ALL
         SELECT ${columns[by]}, spent, refused, last_at FROM quota_hour
         WHERE hour = @hour AND (@upstream IS NULL OR upstream = @upstream)
       ) GROUP BY key`,
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
    spendBy: {
      client: spendBy("client"),
      repository: spendBy("repository"),
      userAgent: spendBy("userAgent"),
      reason: spendBy("reason"),
    },
  };
}
