/** Every statement that the ledger puts to SQLite, prepared once. */
import type Database from "better-sqlite3";
import type {
  LedgerEntry,
  SpendKey,
  SpendRow,
  Spender,
  SpentRow,
  SavedBucket,
  Unproven,
} from "../../quota/ledger.ts";

/** Sums are by the hour. */
export const hourMs = 60 * 60 * 1000;

/** What an hour adds up to for one spender. */
export interface Sum extends Spender {
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
export interface SpentHour {
  readonly upstream: string | null;
  readonly since: number;
  readonly hour: number;
  readonly end: number;
}

/** The entry after which the next step goes on. */
export interface Position {
  readonly lastAt: number;
  readonly id: number;
}

type StoredBucket = {
  [key in Exclude<keyof SavedBucket, "setAsides">]:
    | Exclude<SavedBucket[key], undefined>
    | (undefined extends SavedBucket[key] ? null : never);
} & { readonly setAsides: string };

/** Prepares them all; the tables are those of ledgerTables.ts. */
export function prepareLedger(database: Database.Database) {
  const oldest = `SELECT id FROM quota_entry WHERE bucket = @bucket AND time < @time AND outcome <> 'sent'
    ORDER BY time LIMIT @count`;
  const ofUpstream = "(@upstream IS NULL OR upstream = @upstream)";
  const summed = (by: SpendKey) =>
    database.prepare<[SpentHour], SpendRow>(
      `SELECT ${columns[by]} AS key, sum(spent) AS spent, sum(refused) AS refused, max(last_at) AS lastAt
       FROM quota_hour WHERE hour = @hour AND ${ofUpstream} GROUP BY key`,
    );
  const entered = (by: SpendKey) =>
    database.prepare<[SpentHour & Position & { count: number }], SpendRow & Position>(
      `SELECT id, ${columns[by]} AS key, cost AS spent, 0 AS refused, at AS lastAt FROM quota_entry
       WHERE (at, id) > (@lastAt, @id) AND at < @end AND cost > 0 AND ${ofUpstream} ORDER BY at, id LIMIT @count`,
    );
  return {
    spend: database.prepare<[LedgerEntry]>(
      `INSERT INTO quota_entry (bucket, time, at, cost, outcome, upstream, repository, client, user_agent, reason, payer)
       VALUES (@bucket, @time, @at, @cost, 'sent', @upstream, @repository, @client, @userAgent, @reason, @payer)`,
    ),
    settle: database.prepare<[{ id: number; outcome: string; time: number; cost: number }]>(
      "UPDATE quota_entry SET outcome = @outcome, time = @time, cost = @cost WHERE id = @id",
    ),
    recover: database.prepare<[{ bucket: string; time: number }]>(
      "UPDATE quota_entry SET outcome = 'failed', time = @time WHERE bucket = @bucket AND outcome = 'sent'",
    ),
    rowsSince: database.prepare<[{ bucket: string; time: number; exact: number }], SpentRow>(
      `SELECT id, time, at, cost, outcome, iif(time >= @exact, payer, NULL) AS payer FROM quota_entry
       WHERE bucket = @bucket AND time >= @time AND cost > 0 ORDER BY time, id`,
    ),
    latest: database.prepare<[{ bucket: string }], { time: number | null }>(
      `SELECT max(time) AS time FROM (
         SELECT max(time) AS time FROM quota_entry WHERE bucket = @bucket
         UNION ALL SELECT time FROM quota_standing WHERE bucket = @bucket)`,
    ),
    saved: database.prepare<[{ bucket: string }], StoredBucket>(
      `SELECT time, at, quota AS "limit", window_ms AS windowMs, learnt_from AS learntFrom, remaining, since,
         observed_at AS observedAt, source, saved_pulls AS savedPulls, saved_bytes AS savedBytes,
         paused_until AS pausedUntil, empty_until AS emptyUntil, set_asides AS setAsides
       FROM quota_standing WHERE bucket = @bucket`,
    ),
    keep: database.prepare<[StoredBucket & { bucket: string }]>(
      `INSERT OR REPLACE INTO quota_standing VALUES (@bucket, @time, @at, @limit, @windowMs, @learntFrom, @remaining,
         @since, @observedAt, @source, @savedPulls, @savedBytes, @pausedUntil, @emptyUntil, @setAsides)`,
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
    unprovenSince: database.prepare<[], number | null>("SELECT unproven_since FROM origin").pluck(),
    openUnproven: database.prepare<[{ bucket: string; time: number; at: number }]>(
      "INSERT OR IGNORE INTO unproven_bucket VALUES (@bucket, @time, @at)",
    ),
    unproven: database.prepare<[{ bucket: string }], Unproven>(
      "SELECT time, at FROM unproven_bucket WHERE bucket = @bucket",
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
