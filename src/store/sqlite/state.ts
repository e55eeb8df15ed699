/** Which repositories anybody may see, and which only those who may: as their upstreams said it last. */
import type Database from "better-sqlite3";
import type { Repository } from "../../oci/reference.ts";

/** What an upstream shows of a repository to who shows it no credential. */
export interface Visibility {
  readonly isPublic: boolean;
  /** Milliseconds since the epoch. */
  readonly checkedAt: number;
}

/** Absence is undefined: nothing is known. */
export interface Visibilities {
  of(repository: Repository): Promise<Visibility | undefined>;
  mark(repository: Repository, visibility: Visibility): Promise<void>;
}

interface Row {
  readonly public: 0 | 1;
  readonly checkedAt: number;
}

/** {@link Visibilities} in SQLite. */
export class SqliteVisibilities implements Visibilities {
  readonly #find;
  readonly #mark;

  constructor(database: Database.Database) {
    this.#find = database.prepare<[string, string], Row>(
      "SELECT public, checked_at AS checkedAt FROM visibility WHERE upstream = ? AND repository = ?",
    );
    this.#mark = database.prepare<[string, string, 0 | 1, number]>(
      "INSERT OR REPLACE INTO visibility VALUES (?, ?, ?, ?)",
    );
  }

  async of({ upstream, name }: Repository): Promise<Visibility | undefined> {
    const row = this.#find.get(upstream, name);
    return row && { isPublic: row.public === 1, checkedAt: row.checkedAt };
  }

  async mark({ upstream, name }: Repository, { isPublic, checkedAt }: Visibility): Promise<void> {
    this.#mark.run(upstream, name, isPublic ? 1 : 0, checkedAt);
  }
}
