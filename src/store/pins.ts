/** Pins: patterns of images that are never evicted, some from the configuration and some that were added while running. */
import type Database from "better-sqlite3";
import { parsePattern, type Pattern } from "../oci/pattern.ts";

/** A pin, and who made it. */
export interface Pin {
  readonly pattern: Pattern;
  readonly origin: "configuration" | "api";
}

/** Where pins that were added outlive the process. */
export interface PinTable {
  all(): readonly string[];
  add(pattern: string, pinnedAt: number): void;
  remove(pattern: string): void;
}

/** {@link PinTable} in SQLite. */
export class SqlitePinTable implements PinTable {
  readonly #sql;

  constructor(database: Database.Database) {
    this.#sql = {
      all: database.prepare<[], string>("SELECT pattern FROM pin ORDER BY pattern").pluck(),
      add: database.prepare<[string, number]>("INSERT OR IGNORE INTO pin VALUES (?, ?)"),
      remove: database.prepare<[string]>("DELETE FROM pin WHERE pattern = ?"),
    };
  }

  all(): readonly string[] {
    return this.#sql.all.all();
  }

  add(pattern: string, pinnedAt: number): void {
    this.#sql.add.run(pattern, pinnedAt);
  }

  remove(pattern: string): void {
    this.#sql.remove.run(pattern);
  }
}

export class Pins {
  readonly #table: PinTable;
  readonly #configured: readonly Pattern[];
  readonly #now: () => number;
  readonly #added = new Map<string, Pattern>();

  constructor(table: PinTable, configured: readonly Pattern[], now: () => number) {
    this.#table = table;
    this.#configured = configured;
    this.#now = now;
    for (const text of table.all()) {
      const pattern = parsePattern(text);
      if (pattern) this.#added.set(text, pattern);
    }
  }

  *patterns(): Iterable<Pattern> {
    yield* this.#configured;
    yield* this.#added.values();
  }

  list(): Pin[] {
    return [
      ...this.#configured.map((pattern): Pin => ({ pattern, origin: "configuration" })),
      ...[...this.#added.values()].map((pattern): Pin => ({ pattern, origin: "api" })),
    ];
  }

  add(pattern: Pattern): void {
    this.#table.add(pattern.text, this.#now());
    this.#added.set(pattern.text, pattern);
  }

  /** False when there is no such pin, or only the configuration's. */
  remove(pattern: Pattern): boolean {
    this.#table.remove(pattern.text);
    return this.#added.delete(pattern.text);
  }
}
