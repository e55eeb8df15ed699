/** The catalog seen from end to end: its rows in order, those that hang in the air, and how far the scrub has come. */
import type Database from "better-sqlite3";
import type { Digest } from "../../oci/digest.ts";
import type { BlobRow, ScrubMark, Survey } from "../catalog.ts";
import type { Run, SqliteFile } from "./database.ts";

function prepareSurvey(database: Database.Database) {
  const sql = {
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
  const markScrub = database.transaction(({ reached, beganAt }: ScrubMark) => {
    sql.clearMark.run();
    sql.setMark.run(reached, beganAt);
  });
  return { ...sql, markScrubInOne: markScrub };
}

/** {@link Survey} in the catalog's file. */
export class SqliteSurvey implements Survey {
  readonly #run: Run<ReturnType<typeof prepareSurvey>>;

  constructor(file: SqliteFile) {
    this.#run = file.with(prepareSurvey);
  }

  page(after: string, count: number): Promise<readonly BlobRow[]> {
    return this.#run((sql) => sql.page.all(after, count));
  }

  dangling(): Promise<readonly Digest[]> {
    return this.#run((sql) => sql.dangling.all());
  }

  scrubMark(): Promise<ScrubMark | undefined> {
    return this.#run((sql) => sql.scrubMark.get());
  }

  markScrub(mark: ScrubMark): Promise<void> {
    return this.#run((sql) => sql.markScrubInOne(mark));
  }
}
