/** What is held, when it was used, and how it is dropped, in SQLite. */
import type Database from "better-sqlite3";
import type { Digest } from "../../oci/digest.ts";
import { parseTag, type Repository, type RepositoryName, type Tag } from "../../oci/reference.ts";
import type { BlobRow, HeldImage, Inventory, Orphan, Totals, Use } from "../catalog.ts";
import { repositoryKey, type RepositoryKey, type Run, type SqliteFile } from "./database.ts";
import { TimeSlice, someOf, usualSliceMs } from "../../async/slices.ts";

/** What of a manifest's names or parts is yet to be read. */
interface Rest {
  readonly whole: Digest;
  readonly after: string;
}

interface ImageRow {
  upstream: string;
  name: RepositoryName;
  digest: Digest;
  mediaType: string;
  size: number;
  heldAt: number;
  usedAt: number;
  uses: number;
}

/** The catalog's own bytes count in steps of this size: those of some thousand rows are nothing beside what the rows are about. */
const catalogStep = 1024 * 1024;

const none: ReadonlySet<Digest> = new Set();

/** How many names of a manifest one step of {@link Inventory.drop} takes away at most. */
const namesPerStep = 200;

/** So many orphans are as good as infinitely many: to sum up more takes long. */
const mostOrphans = 5000;

/** How many images that another is a part of are looked up at most. */
const mostParents = 16;

/** Every statement that the inventory puts to SQLite, prepared once for each database. */
function prepareInventory(database: Database.Database, sliceMs: number) {
  const here = "upstream = ? AND repository = ?";
  const image = `SELECT upstream, repository AS name, digest, media_type AS mediaType, size,
      held_at AS heldAt, used_at AS usedAt, uses
    FROM image CROSS JOIN manifest USING (digest) CROSS JOIN blob USING (digest)`;
  const named = "SELECT digest FROM named WHERE manifest = @whole AND digest > @after";
  const referring = "SELECT digest FROM manifest WHERE subject = @whole AND digest > @after";
  const sql = {
    totals: database.prepare<[], Totals>("SELECT bytes, blobs, manifests FROM total"),
    oldestUse: database.prepare<[], number | null>("SELECT min(used_at) FROM image").pluck(),
    lastUse: database
      .prepare<[...RepositoryKey, string], number>(`SELECT used_at FROM image WHERE ${here} AND digest = ?`)
      .pluck(),
    // Who asks for a child asks for its index too, and the other way round: an image is as old as its newest part.
    use: database.prepare<{
      upstream: string;
      name: string;
      digest: string;
      at: number;
      now: number;
      count: number;
    }>(
      `UPDATE image SET used_at = iif(used_at > @now, @at, max(used_at, @at)), uses = uses + iif(digest = @digest, @count, 0)
       WHERE upstream = @upstream AND repository = @name AND digest IN (
         SELECT @digest UNION SELECT manifest FROM named WHERE digest = @digest
         UNION SELECT digest FROM named WHERE manifest = @digest
         UNION SELECT subject FROM manifest WHERE digest = @digest)`,
    ),
    byUse: database.prepare<[number, ...RepositoryKey, string, number], ImageRow>(
      `${image} WHERE (used_at, upstream, repository, digest) > (?, ?, ?, ?)
       ORDER BY used_at, upstream, repository, digest LIMIT ?`,
    ),
    byName: database.prepare<[...RepositoryKey, string, number], ImageRow>(
      `${image} WHERE (upstream, repository, digest) > (?, ?, ?) ORDER BY upstream, repository, digest LIMIT ?`,
    ),
    tags: database
      .prepare<[...RepositoryKey, string], string>(
        `SELECT tag FROM tag WHERE ${here} AND digest = ? ORDER BY tag`,
      )
      .pluck(),
    parents: database
      .prepare<[string, string, ...RepositoryKey], Digest>(
        `SELECT digest FROM (SELECT manifest AS digest FROM named WHERE digest = ?
           UNION ALL SELECT subject FROM manifest WHERE digest = ? AND subject IS NOT NULL)
         CROSS JOIN image USING (digest) WHERE ${here}`,
      )
      .pluck(),
    parts: database.prepare<Repository & Rest, ImageRow>(
      `${image} WHERE upstream = @upstream AND repository = @name AND digest IN (${named} UNION ALL ${referring})
       ORDER BY digest`,
    ),
    contents: database.prepare<Rest, BlobRow>(
      `SELECT digest, size FROM blob WHERE digest IN (${named} UNION ALL SELECT @whole WHERE @whole > @after)
       ORDER BY digest`,
    ),
    needs: database
      .prepare<[string, string], Digest>(
        "SELECT digest FROM manifest WHERE digest = ? UNION ALL SELECT manifest FROM named WHERE digest = ?",
      )
      .pluck(),
    someNamed: database
      .prepare<[string, number], Digest>("SELECT digest FROM named WHERE manifest = ? LIMIT ?")
      .pluck(),
    holders: database.prepare<[string], Repository>(
      "SELECT upstream, repository AS name FROM image WHERE digest = ?",
    ),
    elsewhere: database
      .prepare<[string, ...RepositoryKey], number>(
        "SELECT 1 FROM image WHERE digest = ? AND NOT (upstream = ? AND repository = ?) LIMIT 1",
      )
      .pluck(),
    unname: database.prepare<[string, string]>("DELETE FROM named WHERE manifest = ? AND digest = ?"),
    release: database.prepare<[string]>("UPDATE orphan SET since = 0 WHERE digest = ?"),
    dropImage: database.prepare<[...RepositoryKey, string]>(`DELETE FROM image WHERE ${here} AND digest = ?`),
    dropHeld: database.prepare<[...RepositoryKey, string]>(`DELETE FROM held WHERE ${here} AND digest = ?`),
    dropTags: database.prepare<[...RepositoryKey, string]>(`DELETE FROM tag WHERE ${here} AND digest = ?`),
    dropLastHeld: database.prepare<[...RepositoryKey, string]>(
      `UPDATE tag SET last_held = NULL WHERE ${here} AND last_held = ?`,
    ),
    dropListing: database.prepare<[...RepositoryKey, string]>(
      `DELETE FROM listing WHERE ${here} AND subject = ?`,
    ),
    dropManifest: database.prepare<[string]>("DELETE FROM manifest WHERE digest = ?"),
    orphans: database.prepare<[number, string, number, number, number], Orphan>(
      `SELECT digest, size, since FROM orphan CROSS JOIN blob USING (digest)
       WHERE (since, digest) > (?, ?) AND (since <= ? OR since > ?) ORDER BY since, digest LIMIT ?`,
    ),
    orphanBytes: database.prepare<[number], { readonly blobs: number; readonly bytes: number }>(
      `SELECT count(*) AS blobs, coalesce(sum(size), 0) AS bytes
         FROM (SELECT size FROM orphan CROSS JOIN blob USING (digest) LIMIT ?)`,
    ),
    orphan: database.prepare<[string], BlobRow>(
      "SELECT digest, size FROM orphan CROSS JOIN blob USING (digest) WHERE digest = ?",
    ),
    discardHeld: database.prepare<[string]>("DELETE FROM held WHERE digest = ?"),
    discardBlob: database.prepare<[string]>("DELETE FROM blob WHERE digest = ?"),
  };
  const use = database.transaction((uses: readonly Use[], now: number): number => {
    const slice = new TimeSlice(sliceMs);
    let noted = 0;
    for (const { repository, digest, at, count } of uses) {
      sql.use.run({ ...repository, digest, at: Math.min(at, now), now, count });
      noted += 1;
      if (slice.isOver) break;
    }
    return noted;
  });
  const drop = database.transaction((repository: Repository, digest: Digest): boolean => {
    const here = [...repositoryKey(repository), digest] as const;
    if (!sql.elsewhere.get(digest, ...repositoryKey(repository))) {
      // The manifest's own row goes last: until then it is held, and what it has lost is fetched again.
      const slice = new TimeSlice(sliceMs);
      const names = sql.someNamed.all(digest, namesPerStep);
      for (const name of names) {
        sql.unname.run(digest, name);
        sql.release.run(name);
        if (slice.isOver) return false;
      }
      if (names.length === namesPerStep) return false;
      sql.dropManifest.run(digest);
      sql.release.run(digest);
    }
    sql.dropImage.run(...here);
    sql.dropHeld.run(...here);
    sql.dropTags.run(...here);
    sql.dropLastHeld.run(...here);
    sql.dropListing.run(...here);
    return true;
  });
  const discard = database.transaction((digests: readonly Digest[]) => {
    const slice = new TimeSlice(sliceMs);
    const discarded: BlobRow[] = [];
    let looked = 0;
    for (const digest of digests) {
      const orphan = sql.orphan.get(digest);
      if (orphan) {
        sql.discardHeld.run(digest);
        sql.discardBlob.run(digest);
        discarded.push(orphan);
      }
      looked += 1;
      if (slice.isOver) break;
    }
    return { discarded, rest: digests.slice(looked) };
  });
  return { ...sql, useInOne: use, dropInOne: drop, discardInOne: discard };
}

/** {@link Inventory} in SQLite. */
export class SqliteInventory implements Inventory {
  readonly #run: Run<ReturnType<typeof prepareInventory>>;
  readonly #sliceMs: number;
  readonly #file: SqliteFile;

  /** `sliceMs`: for how many ms one call may take more rows. */
  constructor(file: SqliteFile, sliceMs = usualSliceMs) {
    this.#sliceMs = sliceMs;
    this.#file = file;
    this.#run = file.with((database) => prepareInventory(database, sliceMs));
  }

  totals(): Promise<Totals> {
    return this.#run((sql) => sql.totals.get() ?? { bytes: 0, blobs: 0, manifests: 0 });
  }

  async occupied(): Promise<number> {
    const used = await this.#file.usedBytes();
    return (await this.totals()).bytes + Math.floor(used / catalogStep) * catalogStep;
  }

  orphanBytes(): Promise<number> {
    return this.#run((sql) => {
      const { blobs, bytes } = sql.orphanBytes.get(mostOrphans) ?? { blobs: 0, bytes: 0 };
      return blobs < mostOrphans ? bytes : Number.POSITIVE_INFINITY;
    });
  }

  oldestUse(): Promise<number | undefined> {
    return this.#run((sql) => sql.oldestUse.get() ?? undefined);
  }

  lastUse(repository: Repository, digest: Digest): Promise<number | undefined> {
    return this.#run((sql) => sql.lastUse.get(...repositoryKey(repository), digest));
  }

  use(uses: readonly Use[], now: number): Promise<number> {
    return this.#run((sql) => sql.useInOne(uses, now));
  }

  byUse(after: HeldImage | undefined, limit: number): Promise<HeldImage[]> {
    const from: [number, ...RepositoryKey, string] = after
      ? [after.usedAt, ...repositoryKey(after.repository), after.digest]
      : [-1, "", "", ""];
    return this.#run((sql) =>
      someOf(sql.byUse.iterate(...from, limit), new TimeSlice(this.#sliceMs)).map(toImage),
    );
  }

  byName(after: Pick<HeldImage, "repository" | "digest"> | undefined, limit: number): Promise<HeldImage[]> {
    const from: [...RepositoryKey, string] = after
      ? [...repositoryKey(after.repository), after.digest]
      : ["", "", ""];
    return this.#run((sql) =>
      someOf(sql.byName.iterate(...from, limit), new TimeSlice(this.#sliceMs)).map(toImage),
    );
  }

  tagsOf(repository: Repository, digest: Digest): Promise<Tag[]> {
    return this.#run((sql) =>
      sql.tags.all(...repositoryKey(repository), digest).flatMap((tag) => parseTag(tag) ?? []),
    );
  }

  parents(repository: Repository, digest: Digest, except: ReadonlySet<Digest> = none): Promise<Digest[]> {
    return this.#run((sql) => {
      const parents: Digest[] = [];
      for (const parent of sql.parents.iterate(digest, digest, ...repositoryKey(repository))) {
        if (!except.has(parent)) parents.push(parent);
        if (parents.length === mostParents) break;
      }
      return parents;
    });
  }

  async parts(repository: Repository, digest: Digest): Promise<HeldImage[]> {
    const rows = await this.#inTurns((sql, after) =>
      sql.parts.iterate({ ...repository, whole: digest, after }),
    );
    return rows.map(toImage);
  }

  holders(digest: Digest): Promise<Repository[]> {
    return this.#run((sql) => sql.holders.all(digest));
  }

  async contents(manifest: Digest): Promise<BlobRow[]> {
    return this.#inTurns((sql, after) => sql.contents.iterate({ whole: manifest, after }));
  }

  neededOnlyBy(digest: Digest, manifests: ReadonlySet<Digest>): Promise<boolean> {
    return this.#run((sql) => {
      for (const manifest of sql.needs.iterate(digest, digest)) if (!manifests.has(manifest)) return false;
      return true;
    });
  }

  drop(repository: Repository, digest: Digest): Promise<boolean> {
    return this.#run((sql) => sql.dropInOne(repository, digest));
  }

  orphans(before: number, ahead: number, after: Orphan | undefined, limit: number): Promise<Orphan[]> {
    const { since, digest } = after ?? { since: -1, digest: "" };
    return this.#run((sql) => sql.orphans.all(since, digest, before, ahead, limit));
  }

  discard(digests: readonly Digest[]): ReturnType<Inventory["discard"]> {
    return this.#run((sql) => sql.discardInOne(digests));
  }

  /** All rows that `from` gives after a digest, read by the slice. */
  async #inTurns<Row extends { readonly digest: Digest }>(
    from: (sql: ReturnType<typeof prepareInventory>, after: string) => Iterable<Row>,
  ): Promise<Row[]> {
    const rows: Row[] = [];
    for (;;) {
      const isCut = await this.#run((sql) => {
        const slice = new TimeSlice(this.#sliceMs);
        for (const row of from(sql, rows.at(-1)?.digest ?? "")) {
          rows.push(row);
          if (slice.isOver) return true;
        }
        return false;
      });
      if (!isCut) return rows;
      await new Promise(setImmediate);
    }
  }
}

function toImage({ upstream, name, ...image }: ImageRow): HeldImage {
  return { repository: { upstream, name }, ...image };
}
