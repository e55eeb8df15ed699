/** Pins: patterns of images that are never evicted, some from the configuration and some that were added while running. */
import type Database from "better-sqlite3";
import { parsePattern, type Pattern } from "../oci/pattern.ts";

/** A pin, and who made it. */
export interface Pin {
  readonly pattern: Pattern;
  readonly origin: "configuration" | "api";
}

export class Pins {
  readonly #configured: readonly Pattern[];
  readonly #added = new Map<string, Pattern>();
  readonly #sql;

  constructor(database: Database.Database, configured: readonly Pattern[]) {
    this.#configured = configured;
    this.#sql = {
      all: database.prepare<[], string>("SELECT pattern FROM pin ORDER BY pattern").pluck(),
      add: database.prepare<[string, number]>("INSERT OR IGNORE INTO pin VALUES (?, ?)"),
      remove: database.prepare<[string]>("DELETE FROM pin WHERE pattern = ?"),
    };
    for (const text of this.#sql.all.all()) {
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

  add(pattern: Pattern, now: number): void {
    this.#sql.add.run(pattern.text, now);
    this.#added.set(pattern.text, pattern);
  }

  /** False when there is no such pin, or only the configuration's. */
  remove(pattern: Pattern): boolean {
    this.#sql.remove.run(pattern.text);
    return this.#added.delete(pattern.text);
  }
}
