/** A SQLite file in use: when it turns out to be damaged, another database takes its place. */
import type Database from "better-sqlite3";
import { StoreUnavailableError, type Trouble } from "../error.ts";
import { isDamage, openDatabase, type Schema } from "./database.ts";

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
  #database: Database.Database;
  #isClosed = false;

  /** Without `reopen`, damage is an error like any other. */
  constructor(database: Database.Database, reopen?: Opening) {
    this.#database = database;
    this.#reopen = reopen;
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
