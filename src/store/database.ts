/** The one SQLite file of a data root: opened, checked and brought to the newest schema. */
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import Database from "better-sqlite3";

/** The catalog's tables, step by step: step n brings a file from `user_version` n to n + 1. Steps are only ever added. */
const steps: readonly string[] = [
  `
  -- Bytes that lie under blobs/, manifests among them.
  CREATE TABLE blob (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    stored_at INTEGER NOT NULL
  ) WITHOUT ROWID;

  CREATE TABLE manifest (
    digest TEXT PRIMARY KEY,
    media_type TEXT NOT NULL
  ) WITHOUT ROWID;

  -- What a manifest names: children, config, layers and subject, held or not.
  CREATE TABLE named (
    manifest TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (manifest, digest)
  ) WITHOUT ROWID;
  CREATE INDEX named_digest ON named (digest);

  -- Who may have what: the upstream answered for this digest in this repository.
  CREATE TABLE held (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (upstream, repository, digest)
  ) WITHOUT ROWID;
  CREATE INDEX held_digest ON held (digest);

  -- What a tag meant when it was last checked (by whom, if not by the upstream), and which manifest can be served for it if that one cannot be had.
  CREATE TABLE tag (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    checked_at INTEGER NOT NULL,
    alternate TEXT,
    last_held TEXT,
    PRIMARY KEY (upstream, repository, tag)
  ) WITHOUT ROWID;

  -- Lists as the upstream last gave them: a repository's tags, a manifest's referrers.
  CREATE TABLE listing (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    checked_at INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository, subject)
  ) WITHOUT ROWID;
  `,
  `
  -- What a referrer is about. A subject keeps its referrers; what a manifest names, that manifest keeps.
  ALTER TABLE manifest ADD COLUMN subject TEXT;
  CREATE INDEX manifest_subject ON manifest (subject) WHERE subject IS NOT NULL;

  -- Manifests by the repository that holds them: since when, and when and how often they were asked for.
  CREATE TABLE image (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    held_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository, digest)
  ) WITHOUT ROWID;
  CREATE INDEX image_digest ON image (digest);
  CREATE INDEX image_used ON image (used_at);
  INSERT INTO image SELECT upstream, repository, digest, stored_at, stored_at, 0
    FROM held JOIN manifest USING (digest) JOIN blob USING (digest);
  CREATE INDEX tag_digest ON tag (upstream, repository, digest);

  -- Patterns of images that are never evicted, beside those of the configuration.
  CREATE TABLE pin (pattern TEXT PRIMARY KEY, pinned_at INTEGER NOT NULL) WITHOUT ROWID;

  -- The sums over blob and manifest, kept by the triggers below so that nobody has to count a million rows.
  CREATE TABLE total (bytes INTEGER NOT NULL, blobs INTEGER NOT NULL, manifests INTEGER NOT NULL);
  INSERT INTO total SELECT coalesce(sum(size), 0), count(*), (SELECT count(*) FROM manifest) FROM blob;

  -- Blobs that no held manifest names and that are none themselves: since when (ms), or 0 when they may go at once.
  CREATE TABLE orphan (digest TEXT PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX orphan_since ON orphan (since);
  INSERT INTO orphan SELECT digest, stored_at FROM blob
    WHERE NOT EXISTS (SELECT 1 FROM named WHERE named.digest = blob.digest)
      AND NOT EXISTS (SELECT 1 FROM manifest WHERE manifest.digest = blob.digest);

  CREATE TRIGGER blob_added AFTER INSERT ON blob BEGIN
    UPDATE total SET bytes = bytes + NEW.size, blobs = blobs + 1;
    INSERT INTO orphan SELECT NEW.digest, NEW.stored_at
      WHERE NOT EXISTS (SELECT 1 FROM named WHERE named.digest = NEW.digest)
        AND NOT EXISTS (SELECT 1 FROM manifest WHERE manifest.digest = NEW.digest);
  END;
  CREATE TRIGGER blob_resized AFTER UPDATE OF size ON blob BEGIN
    UPDATE total SET bytes = bytes + NEW.size - OLD.size;
  END;
  CREATE TRIGGER blob_removed AFTER DELETE ON blob BEGIN
    UPDATE total SET bytes = bytes - OLD.size, blobs = blobs - 1;
    DELETE FROM orphan WHERE digest = OLD.digest;
  END;
  CREATE TRIGGER manifest_added AFTER INSERT ON manifest BEGIN
    UPDATE total SET manifests = manifests + 1;
    DELETE FROM orphan WHERE digest = NEW.digest;
  END;
  CREATE TRIGGER manifest_removed AFTER DELETE ON manifest BEGIN
    UPDATE total SET manifests = manifests - 1;
    INSERT INTO orphan SELECT digest, unixepoch() * 1000 FROM blob WHERE digest = OLD.digest
      AND NOT EXISTS (SELECT 1 FROM named WHERE named.digest = OLD.digest);
  END;
  CREATE TRIGGER named_added AFTER INSERT ON named BEGIN
    DELETE FROM orphan WHERE digest = NEW.digest;
  END;
  CREATE TRIGGER named_removed AFTER DELETE ON named BEGIN
    INSERT INTO orphan SELECT digest, unixepoch() * 1000 FROM blob WHERE digest = OLD.digest
      AND NOT EXISTS (SELECT 1 FROM named WHERE named.digest = OLD.digest)
      AND NOT EXISTS (SELECT 1 FROM manifest WHERE manifest.digest = OLD.digest);
  END;
  `,
  `
  -- How far the scrub has come through the blobs, in the order of their digests, and when it began with the first.
  CREATE TABLE scrub (
    reached TEXT NOT NULL,
    began_at INTEGER NOT NULL
  );
  `,
  `
  -- What an immutable tag meant first: that is what it means for ever, whatever is still held of it.
  CREATE TABLE immutable_tag (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository, tag)
  ) WITHOUT ROWID;

  -- When a digest was first seen in a repository, by a tag or, with an empty one, by itself. Outlives the content.
  CREATE TABLE sighting (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    tag TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository, digest, tag)
  ) WITHOUT ROWID;

  -- What a policy, named by its hash, says of a manifest in a repository: until when (ms), or for good.
  CREATE TABLE verdict (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    policy TEXT NOT NULL,
    reason TEXT,
    why TEXT,
    until INTEGER,
    PRIMARY KEY (upstream, repository, digest, policy)
  ) WITHOUT ROWID;
    `,
  `
  -- Pins of those who replace all of theirs at once.
  CREATE TABLE pin_owned (
    owner TEXT NOT NULL,
    pattern TEXT NOT NULL,
    pinned_at INTEGER NOT NULL,
    PRIMARY KEY (owner, pattern)
  ) WITHOUT ROWID;

  -- Orders to fetch images ahead, those that have ended too.
  CREATE TABLE warm_job (id TEXT PRIMARY KEY, created_at INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
    `,
  `
  -- What upstreams have only said is let go of by age: tags that nothing can be served for, and lists, whose bytes are summed.
  CREATE INDEX tag_unheld ON tag (checked_at) WHERE last_held IS NULL;
  CREATE INDEX tag_last_held ON tag (upstream, repository, last_held) WHERE last_held IS NOT NULL;
  CREATE INDEX listing_checked ON listing (checked_at);
  ALTER TABLE total ADD COLUMN listed INTEGER NOT NULL DEFAULT 0;
  UPDATE total SET listed = (SELECT coalesce(sum(octet_length(body)), 0) FROM listing);
  CREATE TRIGGER listing_added AFTER INSERT ON listing BEGIN
    UPDATE total SET listed = listed + octet_length(NEW.body);
  END;
  CREATE TRIGGER listing_changed AFTER UPDATE OF body ON listing BEGIN
    UPDATE total SET listed = listed + octet_length(NEW.body) - octet_length(OLD.body);
  END;
  CREATE TRIGGER listing_removed AFTER DELETE ON listing BEGIN
    UPDATE total SET listed = listed - octet_length(OLD.body);
  END;
  `,
  `
  -- Whether anonymous clients see a repository at its upstream, as it was when it was checked last (ms).
  CREATE TABLE visibility (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    public INTEGER NOT NULL,
    checked_at INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository)
  ) WITHOUT ROWID;
  `,
];

/** Older SQLite can lose committed pages when several connections write and checkpoint (sqlite.org, "The WAL-reset bug"). */
const oldestSqlite = [3, 51, 3] as const;

/** How large the write-ahead log may stay after a checkpoint, in bytes. */
export const logLimit = 16 * 1024 * 1024;

/** Files up to this size are checked whole when they are opened, in bytes: a start has about a quarter of a second for it. */
const checkedWhole = 64 * 1024 * 1024;

/** The data root's file cannot be used as it is; the message says what to do. */
export class DatabaseError extends Error {
  override readonly name = "DatabaseError";
}

/** The file is damaged, or is no database at all. */
export class DamagedError extends Error {
  override readonly name = "DamagedError";
}

/** Does SQLite, or {@link openDatabase}, say by this error that the file is damaged? */
export function isDamage(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return (
    error instanceof DamagedError || (typeof code === "string" && /^SQLITE_(?:CORRUPT|NOTADB)/.test(code))
  );
}

/** Opens `path` (`:memory:` for tests) and migrates it. @throws DatabaseError when a newer Hubcap wrote it, DamagedError. */
export function openDatabase(path: string): Database.Database {
  // A lock is waited for on the event loop, so hardly at all: nobody else should have this file open.
  const database = new Database(path, { timeout: 200 });
  try {
    const version = database.prepare("SELECT sqlite_version()").pluck().get() as string;
    if (isOlder(version, oldestSqlite)) {
      throw new DatabaseError(`SQLite ${version} is older than ${oldestSqlite.join(".")}: run npm ci again`);
    }
    database.pragma("journal_mode = WAL");
    // A crash of the process loses nothing. A power cut may lose the last rows, never more: blobs without a row are
    // found again on disk, and what a lost ledger row spent is learnt from the upstream's next answer.
    database.pragma("synchronous = NORMAL");
    database.pragma(`journal_size_limit = ${logLimit}`);
    // Who serves brings the log in from a thread of its own, long before this many pages of 4 KiB have come together.
    database.pragma("wal_autocheckpoint = 4096");
    // A lookup among a million rows should find the upper pages in memory; in KiB, as negative numbers are.
    database.pragma("cache_size = -65536");
    if (path !== ":memory:" && statSync(path).size <= checkedWhole) checkWhole(database);
    migrate(database);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Opens `path` to look at, beside a process that may be writing it. @throws DatabaseError when its schema is not the newest. */
export function openBeside(path: string): Database.Database {
  const database = new Database(path, { readonly: true, timeout: 5_000 });
  try {
    const version = database.pragma("user_version", { simple: true });
    if (version === steps.length) return database;
    throw new DatabaseError(
      `${path} has schema ${String(version)} and this Hubcap knows ${steps.length}: start the Hubcap that is to use it first`,
    );
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Reads every page. @throws DamagedError */
export function checkWhole(database: Database.Database): void {
  const found = database.pragma("quick_check(1)", { simple: true });
  if (found !== "ok") throw new DamagedError(`${database.name} is damaged: ${String(found)}`);
}

/** Moves a database with its log out of the way, and gives its new path. The log goes last: alone, it is dropped. */
export function setAside(path: string, now: number): string {
  const aside = `${path}.corrupt-${new Date(now).toISOString().replaceAll(/[-:]|\.\d+/g, "")}`;
  for (const part of ["", "-wal", "-shm"]) {
    if (existsSync(path + part)) renameSync(path + part, aside + part);
  }
  return aside;
}

function migrate(database: Database.Database): void {
  const from = database.pragma("user_version", { simple: true }) as number;
  if (from > steps.length) {
    throw new DatabaseError(
      `${database.name} was written by a newer Hubcap (schema ${from}, this one knows ${steps.length}): ` +
        "start that version again, or give this one another storage.root",
    );
  }
  if (from > 0 && from < steps.length) backUp(database, `${database.name}.schema-${from}`);
  for (const [index, step] of steps.entries()) {
    if (index < from) continue;
    database
      .transaction(() => {
        database.exec(step);
        database.pragma(`user_version = ${index + 1}`);
      })
      .immediate();
  }
}

/** Copies the database to `path`. A copy that a crash cut short never has that name. */
function backUp(database: Database.Database, path: string): void {
  const partial = `${path}.partial`;
  rmSync(partial, { force: true });
  database.prepare("VACUUM INTO ?").run(partial);
  const file = openSync(partial, "r");
  fsyncSync(file);
  closeSync(file);
  renameSync(partial, path);
}

function isOlder(version: string, oldest: readonly number[]): boolean {
  const parts = version.split(".").map(Number);
  const at = oldest.findIndex((part, index) => part !== parts[index]);
  return at >= 0 && (parts[at] ?? 0) < (oldest[at] ?? 0);
}
