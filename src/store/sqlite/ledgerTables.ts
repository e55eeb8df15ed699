/** The ledger's tables, and how they came to be what they are. */
import type Database from "better-sqlite3";

/** Versions only grow: step n brings the tables from version n to n + 1. */
const steps: readonly string[] = [
  `
  -- AUTOINCREMENT: a number is never used twice, though rows are deleted. quota_standing.since relies on it.
  CREATE TABLE quota_entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket TEXT NOT NULL,
    time INTEGER NOT NULL,
    at INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    client TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    reason TEXT NOT NULL
  );
  CREATE INDEX quota_entry_time ON quota_entry (bucket, time);
  CREATE INDEX quota_entry_at ON quota_entry (at);
  CREATE INDEX quota_entry_sent ON quota_entry (bucket) WHERE outcome = 'sent';

  CREATE TABLE quota_hour (
    hour INTEGER NOT NULL,
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    client TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    reason TEXT NOT NULL,
    spent INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (hour, upstream, repository, client, user_agent, reason)
  ) WITHOUT ROWID;

  CREATE TABLE quota_standing (
    bucket TEXT PRIMARY KEY,
    time INTEGER NOT NULL,
    at INTEGER NOT NULL,
    quota INTEGER,
    window_ms INTEGER NOT NULL,
    learnt_from TEXT NOT NULL,
    remaining INTEGER,
    since INTEGER NOT NULL,
    observed_at INTEGER,
    source TEXT,
    saved_pulls INTEGER NOT NULL,
    saved_bytes INTEGER NOT NULL
  ) WITHOUT ROWID;
  `,
  `
  ALTER TABLE quota_standing ADD COLUMN paused_until INTEGER;
  ALTER TABLE quota_standing ADD COLUMN empty_until INTEGER;
  `,
  `
  -- Whose share of the limit an entry counts in; null where it was written before there was this column.
  ALTER TABLE quota_entry ADD COLUMN payer TEXT;
  `,
  `
  -- Pulls that are kept for the rest of images that were begun, as JSON.
  ALTER TABLE quota_standing ADD COLUMN set_asides TEXT NOT NULL DEFAULT '[]';
  `,
];

/** Which of a file's tables are the ledger's, and which of them says what the others mean. */
export const ledgerTables = { prefix: "quota_", version: "quota_version" } as const;

/** The ledger's tables cannot be used as they are; the message says what to do. */
export class LedgerError extends Error {
  override readonly name = "LedgerError";
}

/** Brings the tables to the newest version. They share a file with the catalog, so `user_version` is not theirs. @throws LedgerError */
export function migrateLedger(database: Database.Database): void {
  database
    .transaction(() => {
      database.exec("CREATE TABLE IF NOT EXISTS quota_version (version INTEGER NOT NULL)");
      const found = database.prepare<[], { version: number }>("SELECT version FROM quota_version").get();
      const from = found?.version ?? 0;
      if (from > steps.length) {
        throw new LedgerError(
          `the ledger in ${database.name} was written by a newer Hubcap (version ${from}, this one knows ` +
            `${steps.length}): start that version again, or give this one another storage.root`,
        );
      }
      for (const step of steps.slice(from)) database.exec(step);
      database.exec("DELETE FROM quota_version");
      database.prepare("INSERT INTO quota_version VALUES (?)").run(steps.length);
    })
    .immediate();
}
