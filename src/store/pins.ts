/** Pins: patterns of images that are never evicted, some from the configuration and some that were added while running. */
import type Database from "better-sqlite3";
import { parsePattern, type Pattern } from "../oci/pattern.ts";

/** A pin, and who made it. */
export interface Pin {
  readonly pattern: Pattern;
  readonly origin: "configuration" | "api";
}

/** The pins' table, for those who keep it when the rest of the catalog is lost. */
export const pinTable = { prefix: "pin", version: "pin" } as const;

/** Where pins that were added outlive the process. */
export interface PinTable {
  all(): readonly string[];
  add(pattern: string, pinnedAt: number): void;
  remove(pattern: string): void;
}

/** {@link PinTable} in SQLite. */
export class SqlitePinTable implements PinTable {
  readonly #database: () => Database.Database;

  /** `database` gives the one that is in use when it is called: one that is damaged is replaced. */
  constructor(database: () => Database.Database) {
    this.#database = database;
  }

  all(): readonly string[] {
    return this.#database().prepare<[], string>("SELECT pattern FROM pin ORDER BY pattern").pluck().all();
  }

  add(pattern: string, pinnedAt: number): void {
    this.#database().prepare("INSERT OR IGNORE INTO pin VALUES (?, ?)").run(pattern, pinnedAt);
  }

  remove(pattern: string): void {
    this.#database().prepare("DELETE FROM pin WHERE pattern = ?").run(pattern);
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
