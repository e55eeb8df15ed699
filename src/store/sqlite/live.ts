/** The database while the house runs: when it turns out to be damaged it is set aside, and a new one takes its place. */
import type Database from "better-sqlite3";
import { isDamage, openDatabase, setAside } from "./database.ts";
import { salvage, type Kept } from "./salvage.ts";

export interface LiveOptions {
  /** Tables that are carried over from a damaged file, as far as they can be read. */
  readonly keep: readonly Kept[];
  /** Told that a damaged file was set aside at `aside`, and why. */
  readonly replaced: (aside: string, error: unknown) => void;
  readonly now?: () => number;
}

export class LiveDatabase {
  readonly path: string;
  readonly #options: LiveOptions;
  readonly #now: () => number;
  #database: Database.Database;
  #closed = false;

  /** @throws DatabaseError */
  constructor(path: string, { now = Date.now, ...options }: LiveOptions) {
    this.path = path;
    this.#options = options;
    this.#now = now;
    this.#database = this.#open();
  }

  /**
   * What `make` gives for the database, for whichever one is in place when it is called. All its methods are
   * asynchronous; a call that finds the file damaged is repeated on the new one.
   */
  over<T extends object>(make: (database: Database.Database) => T): T {
    let of = this.#database;
    let made = make(of);
    const current = (): T => {
      if (of !== this.#database) made = make((of = this.#database));
      return made;
    };
    const call = (name: string | symbol, args: unknown[]): unknown =>
      (Reflect.get(current(), name) as (...args: unknown[]) => unknown).apply(current(), args);
    const methods = new Map<string | symbol, (...args: unknown[]) => Promise<unknown>>();
    const method =
      (name: string | symbol) =>
      async (...args: unknown[]): Promise<unknown> => {
        // Another process may have the file by now.
        if (this.#closed) throw new Error("the database is closed");
        // Without room for a new one, an earlier call may have left none.
        if (!this.#database.open) this.#database = this.#open();
        const before = this.#database;
        try {
          return await call(name, args);
        } catch (error) {
          if (!isDamage(error) || this.#closed) throw error;
          // Somebody else's call may have met the damage first.
          if (before === this.#database) this.#replace(error);
          return await call(name, args);
        }
      };
    return new Proxy(made, {
      get: (_made, name) => methods.getOrInsertComputed(name, method),
    });
  }

  /** The database that is in place now. */
  readonly current = (): Database.Database => this.#database;

  /** For good: calls that come later fail. */
  close(): void {
    this.#closed = true;
    this.#database.close();
  }

  #open(): Database.Database {
    try {
      return openDatabase(this.path);
    } catch (error) {
      if (!isDamage(error)) throw error;
      return this.#renew(error);
    }
  }

  #replace(error: unknown): void {
    // First, because closing removes the log by its path.
    this.#database.close();
    this.#database = this.#renew(error);
  }

  #renew(error: unknown): Database.Database {
    const { aside, fresh } = renew(this.path, this.#options.keep, this.#now());
    this.#options.replaced(aside, error);
    return fresh;
  }
}

/** Sets a damaged file aside and opens a new one in its place, with what could be carried over. */
export function renew(path: string, keep: readonly Kept[], now: number) {
  const aside = setAside(path, now);
  const fresh = openDatabase(path);
  for (const kept of keep) salvage(aside, fresh, kept);
  return { aside, fresh };
}
