/** What upstreams have only said: tags that nothing can be served for, and lists. Clients cause both, so both are bounded. */
import type Database from "better-sqlite3";
import type { MetadataExpiry, MetadataLimits } from "../catalog.ts";
import type { Run, SqliteFile } from "./database.ts";

/** How many rows one call forgets. A list may be megabytes long. */
const tagsPerStep = 50;
const listsPerStep = 10;

type Bounds = [before: number, ahead: number, limit: number];

function prepareMetadataExpiry(database: Database.Database) {
  const old = "checked_at <= ? OR checked_at >= ?";
  return {
    tooManyTags: database
      .prepare<[number], number>(
        "SELECT checked_at FROM tag WHERE last_held IS NULL ORDER BY checked_at DESC LIMIT 1 OFFSET ?",
      )
      .pluck(),
    forgetTags: database.prepare<Bounds>(
      `DELETE FROM tag WHERE (upstream, repository, tag) IN (
         SELECT upstream, repository, tag FROM tag WHERE last_held IS NULL AND (${old}) ORDER BY checked_at LIMIT ?)`,
    ),
    tooManyLists: database
      .prepare<[number], number>("SELECT checked_at FROM listing ORDER BY checked_at DESC LIMIT 1 OFFSET ?")
      .pluck(),
    listed: database.prepare<[], number>("SELECT listed FROM total").pluck(),
    forgetLists: database.prepare<Bounds>(
      `DELETE FROM listing WHERE (upstream, repository, subject) IN (
         SELECT upstream, repository, subject FROM listing WHERE ${old} ORDER BY checked_at LIMIT ?)`,
    ),
  };
}

/** {@link MetadataExpiry} in the catalog's file. */
export class SqliteMetadataExpiry implements MetadataExpiry {
  readonly #run: Run<ReturnType<typeof prepareMetadataExpiry>>;

  constructor(file: SqliteFile) {
    this.#run = file.with(prepareMetadataExpiry);
  }

  sweep(now: number, limits: MetadataLimits): Promise<number> {
    return this.#run((sql) => {
      const tags = Math.max(now - limits.tagAgeMs, sql.tooManyTags.get(limits.tags) ?? 0);
      // What was said in the future was so while the clock was ahead.
      const { changes } = sql.forgetTags.run(tags, now + limits.tagAgeMs, tagsPerStep);
      if (changes > 0) return changes;
      const isTooLong = (sql.listed.get() ?? 0) > limits.listBytes;
      const lists = Math.max(now - limits.listAgeMs, sql.tooManyLists.get(limits.lists) ?? 0);
      const before = isTooLong ? now : lists;
      return sql.forgetLists.run(before, now + limits.listAgeMs, isTooLong ? 1 : listsPerStep).changes;
    });
  }
}
