/** The catalog seen from end to end: its rows in order, those that hang in the air, and how far the scrub has come. */
import type Database from "better-sqlite3";
import type { Digest } from "../../oci/digest.ts";
import type { BlobRow, ScrubMark, Survey } from "../catalog.ts";

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
