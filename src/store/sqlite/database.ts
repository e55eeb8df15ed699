/** The SQLite files of a data root: opened, checked and brought to the newest schema. */
import Database from "better-sqlite3";
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { Repository } from "../../oci/reference.ts";
import { StoreUnavailableError, type Trouble } from "../error.ts";

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
class DamagedError extends Error {
  override readonly name = "DamagedError";
}

/** Does SQLite, or {@link openDatabase}, say by this error that the file is damaged? */
export function isDamage(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return (
    error instanceof DamagedError || (typeof code === "string" && /^SQLITE_(?:CORRUPT|NOTADB)/.test(code))
  );
}

/** A repository as the columns that name it in every table. */
export type RepositoryKey = [upstream: string, repository: string];

export function repositoryKey({ upstream, name }: Repository): RepositoryKey {
  return [upstream, name];
}

/** What a file consists of. */
export interface Schema {
  /** Step n brings a file from `user_version` n to n + 1. Files with each of them are out there: they are never changed. */
  readonly steps: readonly string[];
  /** What else a file needs once all steps were taken. */
  readonly finish?: (database: Database.Database) => void;
}

/** Opens `path` (`:memory:` for tests) and migrates it, after it was backed up. @throws DatabaseError when a newer Hubcap wrote it, DamagedError. */
export function openDatabase(path: string, schema: Schema): Database.Database {
  // A lock is waited for on the event loop, so hardly at all: no one else should have this file open.
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
    migrate(database, schema.steps);
    schema.finish?.(database);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Opens `path` to look at, beside a process that may be writing it. @throws DatabaseError when its schema is not the newest. */
export function openBeside(path: string, { steps }: Schema): Database.Database {
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

/** A database and what lies beside it. The log comes last: alone, it is dropped. */
const suffixes = ["", "-wal", "-shm"] as const;

/** Removes what a crash left of a database that was being made, if anything. */
export function removeDatabase(path: string): void {
  for (const suffix of suffixes) rmSync(path + suffix, { force: true });
}

/** Moves a database out of the way, and gives its new path. */
export function setAside(path: string, now: number): string {
  const aside = `${path}.corrupt-${new Date(now).toISOString().replaceAll(/[-:]|\.\d+/g, "")}`;
  for (const suffix of suffixes) {
    if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  }
  return aside;
}

/** How many steps the file at `path` has taken; undefined when there is no such file, or none that can be read. */
export function versionOf(path: string): number | undefined {
  if (!existsSync(path)) return undefined;
  try {
    const database = new Database(path, { timeout: 200 });
    try {
      return database.pragma("user_version", { simple: true }) as number;
    } finally {
      database.close();
    }
  } catch (error) {
    if (isDamage(error)) return undefined;
    throw error;
  }
}

function migrate(database: Database.Database, steps: readonly string[]): void {
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
export function backUp(database: Database.Database, path: string): void {
  const partial = `${path}.partial`;
  rmSync(partial, { force: true });
  database.prepare("VACUUM INTO ?").run(partial);
  moveForGood(partial, path);
}

/** Gives a file that is whole its name, in one step that survives a power cut. */
export function moveForGood(from: string, to: string): void {
  sync(from);
  renameSync(from, to);
  sync(dirname(to));
}

function sync(path: string): void {
  const file = openSync(path, "r");
  fsyncSync(file);
  closeSync(file);
}

function isOlder(version: string, oldest: readonly number[]): boolean {
  const parts = version.split(".").map(Number);
  const at = oldest.findIndex((part, index) => part !== parts[index]);
  return at >= 0 && (parts[at] ?? 0) < (oldest[at] ?? 0);
}

/** Does `work` with what was prepared for the database that is in place now. @throws StoreUnavailableError */
export type Run<T> = <R>(work: (prepared: T) => R) => Promise<R>;

/** Opens a database anew: after `damage`, in place of the one that has it. */
export type Opening = (damage?: unknown) => Database.Database;

const troubles: readonly (readonly [RegExp, Trouble])[] = [
  [/^SQLITE_FULL/, "full"],
  [/^SQLITE_(?:IOERR|READONLY|CANTOPEN)/, "failing"],
];

export class SqliteFile {
  readonly #reopen: Opening | undefined;
  readonly #usedBytes: Run<Database.Statement<[], number>>;
  #database: Database.Database;
  #isClosed = false;

  /** Without `reopen`, damage is an error like any other. */
  constructor(database: Database.Database, reopen?: Opening) {
    this.#database = database;
    this.#reopen = reopen;
    this.#usedBytes = this.with((current) =>
      current
        .prepare<[], number>(
          `SELECT (page_count - freelist_count) * page_size
           FROM pragma_page_count, pragma_freelist_count, pragma_page_size`,
        )
        .pluck(),
    );
  }

  /** In memory, for tests. */
  static inMemory(schema: Schema): SqliteFile {
    return new SqliteFile(openDatabase(":memory:", schema));
  }

  /** `prepare` is called once for each database that comes to be in place. */
  with<T>(prepare: (database: Database.Database) => T): Run<T> {
    let of: Database.Database | undefined;
    let prepared: T;
    const current = (): T => {
      if (of !== this.#database) {
        prepared = prepare(this.#database);
        of = this.#database;
      }
      return prepared;
    };
    return async (work) => this.#attempt(() => work(current()));
  }

  /** Bytes of the pages in use. Those that are free now take the next rows. */
  usedBytes(): Promise<number> {
    return this.#usedBytes((used) => used.get() ?? 0);
  }

  /** For good: calls that come later fail. */
  close(): void {
    this.#isClosed = true;
    this.#database.close();
  }

  #attempt<R>(work: () => R): R {
    // Another process may have the file by now.
    if (this.#isClosed) throw new Error("the database is closed");
    try {
      // On a full disk, an earlier call may have closed a damaged database without opening the next one.
      if (!this.#database.open && this.#reopen) this.#database = this.#reopen();
      return work();
    } catch (error) {
      if (!this.#reopen || !isDamage(error)) throw unavailable(error);
      return this.#afterDamage(error, this.#reopen, work);
    }
  }

  /** A call that finds the file damaged is repeated on the new one. */
  #afterDamage<R>(damage: unknown, reopen: Opening, work: () => R): R {
    try {
      // First, because closing removes the log by its path.
      this.#database.close();
      this.#database = reopen(damage);
      return work();
    } catch (error) {
      throw unavailable(error);
    }
  }
}

/** `error`, or what it means for those who use the store: that it does not answer. */
export function unavailable(error: unknown): unknown {
  const { code } = error as { code?: unknown };
  const known = troubles.find(([pattern]) => typeof code === "string" && pattern.test(code));
  return known ? new StoreUnavailableError(known[1], { cause: error }) : error;
}
