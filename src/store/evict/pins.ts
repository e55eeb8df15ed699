/** Pins: patterns of images that are never evicted: of the configuration, added while running, or of what the cluster uses. */
import type Database from "better-sqlite3";
import { parsePattern, type Pattern } from "../../oci/pattern.ts";

/** Somebody whose pins are replaced all at once: the cluster, for the images that its pods use. */
export type PinOwner = "cluster";

/** A pin, and who made it. */
export interface Pin {
  readonly pattern: Pattern;
  readonly origin: "configuration" | "api" | PinOwner;
}

/** The pins' table, for those who keep it when the rest of the catalog is lost. */
export const pinTable = { prefix: "pin", version: "pin" } as const;

/** Where pins that were added outlive the process. */
export interface PinTable {
  all(): readonly string[];
  add(pattern: string, pinnedAt: number): void;
  remove(pattern: string): void;
  owned(owner: PinOwner): readonly string[];
  /** Puts these in the place of all that `owner` had. */
  replace(owner: PinOwner, patterns: readonly string[], pinnedAt: number): void;
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

  owned(owner: PinOwner): readonly string[] {
    return this.#database()
      .prepare<[string], string>("SELECT pattern FROM pin_owned WHERE owner = ? ORDER BY pattern")
      .pluck()
      .all(owner);
  }

  replace(owner: PinOwner, patterns: readonly string[], pinnedAt: number): void {
    const database = this.#database();
    const add = database.prepare("INSERT OR IGNORE INTO pin_owned VALUES (?, ?, ?)");
    database.transaction(() => {
      database.prepare("DELETE FROM pin_owned WHERE owner = ?").run(owner);
      for (const pattern of patterns) add.run(owner, pattern, pinnedAt);
    })();
  }
}

export class Pins {
  readonly #table: PinTable;
  readonly #configured: readonly Pattern[];
  readonly #now: () => number;
  readonly #added = new Map<string, Pattern>();
  /** The cluster's. */
  #used: ReadonlyMap<string, Pattern>;

  constructor(table: PinTable, configured: readonly Pattern[], now: () => number) {
    this.#table = table;
    this.#configured = configured;
    this.#now = now;
    for (const pattern of readAll(table.all())) this.#added.set(pattern.text, pattern);
    this.#used = byText(readAll(table.owned("cluster")));
  }

  *patterns(): Iterable<Pattern> {
    yield* this.#configured;
    yield* this.#added.values();
    yield* this.#used.values();
  }

  list(): Pin[] {
    return [
      ...this.#configured.map((pattern): Pin => ({ pattern, origin: "configuration" })),
      ...[...this.#added.values()].map((pattern): Pin => ({ pattern, origin: "api" })),
      ...[...this.#used.values()].map((pattern): Pin => ({ pattern, origin: "cluster" })),
    ];
  }

  add(pattern: Pattern): void {
    this.#table.add(pattern.text, this.#now());
    this.#added.set(pattern.text, pattern);
  }

  /** Puts these in the place of all pins that `owner` had; no other pin is touched. */
  replace(owner: PinOwner, patterns: readonly Pattern[]): void {
    const unique = byText(patterns);
    this.#table.replace(owner, [...unique.keys()], this.#now());
    this.#used = unique;
  }

  /** False when there is no such pin, or only one of another origin. */
  remove(pattern: Pattern): boolean {
    this.#table.remove(pattern.text);
    return this.#added.delete(pattern.text);
  }
}

function readAll(texts: readonly string[]): Pattern[] {
  return texts.flatMap((text) => parsePattern(text) ?? []);
}

function byText(patterns: readonly Pattern[]): ReadonlyMap<string, Pattern> {
  return new Map(patterns.map((pattern) => [pattern.text, pattern]));
}
