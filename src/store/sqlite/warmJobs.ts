/** Orders to fetch images ahead, as they outlive the process: one row of JSON each. */
import type Database from "better-sqlite3";

/** Where orders are kept. What a row says is the caller's affair. */
export interface WarmJobTable {
  /** All rows, oldest first. */
  all(): readonly string[];
  keep(id: string, createdAt: number, body: string): void;
  remove(id: string): void;
}

/** {@link WarmJobTable} in SQLite. */
export class SqliteWarmJobTable implements WarmJobTable {
  readonly #database: () => Database.Database;

  /** `database` gives the one that is in use when it is called: one that is damaged is replaced. */
  constructor(database: () => Database.Database) {
    this.#database = database;
  }

  all(): readonly string[] {
    return this.#database()
      .prepare<[], string>("SELECT body FROM warm_job ORDER BY created_at, id")
      .pluck()
      .all();
  }

  keep(id: string, createdAt: number, body: string): void {
    this.#database().prepare("INSERT OR REPLACE INTO warm_job VALUES (?, ?, ?)").run(id, createdAt, body);
  }

  remove(id: string): void {
    this.#database().prepare("DELETE FROM warm_job WHERE id = ?").run(id);
  }
}
