/** The catalog seen from end to end: its rows in order, those that hang in the air, and how far the scrub has come. */
import type Database from "better-sqlite3";
import type { Digest } from "../../oci/digest.ts";

/** A blob as its row says it is. */
export interface BlobRow {
  readonly digest: Digest;
  readonly size: number;
}

/** Where the scrub stands: the last blob it has seen, and when (ms since the epoch) it saw the first of this round. */
export interface ScrubMark {
  readonly reached: string;
  readonly beganAt: number;
}

/** Absence is undefined throughout. */
export interface Survey {
  /** The next blobs by digest after `after`, at most `count`; the empty text is before all. */
  page(after: string, count: number): Promise<readonly BlobRow[]>;
  /** Digests that are held, or known as manifests, though there is no blob of theirs. */
  dangling(): Promise<readonly Digest[]>;
  scrubMark(): Promise<ScrubMark | undefined>;
  markScrub(mark: ScrubMark): Promise<void>;
}

/** {@link Survey} in the catalog's file. */
export class SqliteSurvey implements Survey {
  readonly #sql;
  readonly #markScrub;

  constructor(database: Database.Database) {
    this.#sql = {
      page: database.prepare<[string, number], BlobRow>(
        "SELECT digest, size FROM blob WHERE digest > ? ORDER BY digest LIMIT ?",
      ),
      dangling: database
        .prepare<[], Digest>(
          `SELECT digest FROM (SELECT digest FROM held UNION SELECT digest FROM manifest)
           WHERE digest NOT IN (SELECT digest FROM blob)`,
        )
        .pluck(),
      scrubMark: database.prepare<[], ScrubMark>("SELECT reached, began_at AS beganAt FROM scrub"),
      clearMark: database.prepare("DELETE FROM scrub"),
      setMark: database.prepare<[string, number]>("INSERT INTO scrub VALUES (?, ?)"),
    };
    this.#markScrub = database.transaction(({ reached, beganAt }: ScrubMark) => {
      this.#sql.clearMark.run();
      this.#sql.setMark.run(reached, beganAt);
    });
  }

  async page(after: string, count: number): Promise<readonly BlobRow[]> {
    return this.#sql.page.all(after, count);
  }

  async dangling(): Promise<readonly Digest[]> {
    return this.#sql.dangling.all();
  }

  async scrubMark(): Promise<ScrubMark | undefined> {
    return this.#sql.scrubMark.get();
  }

  async markScrub(mark: ScrubMark): Promise<void> {
    this.#markScrub(mark);
  }
}
