/** The catalog as seen by those who make room: what is held, how long it was not asked for, and letting go of it. */
import type Database from "better-sqlite3";
import type { Digest } from "../../oci/digest.ts";
import { parseTag, type Repository, type RepositoryName, type Tag } from "../../oci/reference.ts";
import type { Discarded, HeldImage, Inventory, Totals, Use } from "../catalog.ts";
import type { Run, SqliteFile } from "./file.ts";
import { TimeSlice, someOf, usualSliceMs } from "../../async/slices.ts";

type Place = [upstream: string, repository: string];
const place = ({ upstream, name }: Repository): Place => [upstream, name];

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

/** How many names of a manifest one step of {@link Inventory.drop} takes away at most. */
const namesPerStep = 200;

/** How many orphans are looked up at once. */
const orphansPerLook = 8;

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
    byUse: database.prepare<[number, ...Place, string, number], ImageRow>(
      `${image} WHERE (used_at, upstream, repository, digest) > (?, ?, ?, ?)
       ORDER BY used_at, upstream, repository, digest LIMIT ?`,
    ),
    byName: database.prepare<[...Place, string, number], ImageRow>(
      `${image} WHERE (upstream, repository, digest) > (?, ?, ?) ORDER BY upstream, repository, digest LIMIT ?`,
    ),
    tags: database
      .prepare<[...Place, string], string>(`SELECT tag FROM tag WHERE ${here} AND digest = ? ORDER BY tag`)
      .pluck(),
    keepers: database
      .prepare<[string, string, ...Place], Digest>(
        `SELECT digest FROM (SELECT manifest AS digest FROM named WHERE digest = ?
           UNION ALL SELECT subject FROM manifest WHERE digest = ? AND subject IS NOT NULL)
         CROSS JOIN image USING (digest) WHERE ${here} LIMIT 16`,
      )
      .pluck(),
    belongings: database.prepare<Repository & Rest, ImageRow>(
      `${image} WHERE upstream = @upstream AND repository = @name AND digest IN (${named} UNION ALL ${referring})
       ORDER BY digest`,
    ),
    contents: database.prepare<Rest, Discarded>(
      `SELECT digest, size FROM blob WHERE digest IN (${named} UNION ALL SELECT @whole WHERE @whole > @after)
       ORDER BY digest`,
    ),
    names: database.prepare<[string], Digest>("SELECT manifest FROM named WHERE digest = ?").pluck(),
    someNamed: database
      .prepare<[string, number], Digest>("SELECT digest FROM named WHERE manifest = ? LIMIT ?")
      .pluck(),
    elsewhere: database
      .prepare<[string, ...Place], number>(
        "SELECT 1 FROM image WHERE digest = ? AND NOT (upstream = ? AND repository = ?) LIMIT 1",
      )
      .pluck(),
    unname: database.prepare<[string, string]>("DELETE FROM named WHERE manifest = ? AND digest = ?"),
    release: database.prepare<[string]>("UPDATE orphan SET since = 0 WHERE digest = ?"),
    dropImage: database.prepare<[...Place, string]>(`DELETE FROM image WHERE ${here} AND digest = ?`),
    dropHeld: database.prepare<[...Place, string]>(`DELETE FROM held WHERE ${here} AND digest = ?`),
    dropTags: database.prepare<[...Place, string]>(`DELETE FROM tag WHERE ${here} AND digest = ?`),
    dropLastHeld: database.prepare<[...Place, string]>(
      `UPDATE tag SET last_held = NULL WHERE ${here} AND last_held = ?`,
    ),
    dropListing: database.prepare<[...Place, string]>(`DELETE FROM listing WHERE ${here} AND subject = ?`),
    dropManifest: database.prepare<[string]>("DELETE FROM manifest WHERE digest = ?"),
    orphans: database.prepare<[number, number], Discarded>(
      "SELECT digest, size FROM orphan CROSS JOIN blob USING (digest) WHERE since <= ? ORDER BY since LIMIT ?",
    ),
    orphansAhead: database.prepare<[number, number], Discarded>(
      "SELECT digest, size FROM orphan CROSS JOIN blob USING (digest) WHERE since > ? ORDER BY since LIMIT ?",
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
    const here = [...place(repository), digest] as const;
    if (!sql.elsewhere.get(digest, ...place(repository))) {
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
  const someOrphans = (before: number, ahead: number, limit: number): Discarded[] => {
    const old = sql.orphans.all(before, limit);
    return [...old, ...sql.orphansAhead.all(ahead, limit - old.length)];
  };
  const discard = database.transaction((before: number, ahead: number, limit: number): Discarded[] => {
    const slice = new TimeSlice(sliceMs);
    const discarded: Discarded[] = [];
    for (;;) {
      const some = someOrphans(before, ahead, Math.min(orphansPerLook, limit - discarded.length));
      if (some.length === 0) return discarded;
      for (const orphan of some) {
        sql.discardHeld.run(orphan.digest);
        sql.discardBlob.run(orphan.digest);
        discarded.push(orphan);
        if (slice.isOver) return discarded;
      }
    }
  });
  return { ...sql, useInOne: use, dropInOne: drop, discardInOne: discard, someOrphans };
}

/** {@link Inventory} in SQLite. */
export class SqliteInventory implements Inventory {
  readonly #run: Run<ReturnType<typeof prepareInventory>>;
  readonly #sliceMs: number;

  /** `sliceMs`: for how many ms one call may take more rows. */
  constructor(file: SqliteFile, sliceMs = usualSliceMs) {
    this.#sliceMs = sliceMs;
    this.#run = file.with((database) => prepareInventory(database, sliceMs));
  }

  totals(): Promise<Totals> {
    return this.#run((sql) => sql.totals.get() ?? { bytes: 0, blobs: 0, manifests: 0 });
  }

  oldestUse(): Promise<number | undefined> {
    return this.#run((sql) => sql.oldestUse.get() ?? undefined);
  }

  use(uses: readonly Use[], now: number): Promise<number> {
    return this.#run((sql) => sql.useInOne(uses, now));
  }

  byUse(after: HeldImage | undefined, limit: number): Promise<HeldImage[]> {
    const from: [number, ...Place, string] = after
      ? [after.usedAt, ...place(after.repository), after.digest]
      : [-1, "", "", ""];
    return this.#run((sql) =>
      someOf(sql.byUse.iterate(...from, limit), new TimeSlice(this.#sliceMs)).map(toImage),
    );
  }

  byName(after: Pick<HeldImage, "repository" | "digest"> | undefined, limit: number): Promise<HeldImage[]> {
    const from: [...Place, string] = after ? [...place(after.repository), after.digest] : ["", "", ""];
    return this.#run((sql) =>
      someOf(sql.byName.iterate(...from, limit), new TimeSlice(this.#sliceMs)).map(toImage),
    );
  }

  tagsOf(repository: Repository, digest: Digest): Promise<Tag[]> {
    return this.#run((sql) =>
      sql.tags.all(...place(repository), digest).flatMap((tag) => parseTag(tag) ?? []),
    );
  }

  keepers(repository: Repository, digest: Digest): Promise<Digest[]> {
    return this.#run((sql) => sql.keepers.all(digest, digest, ...place(repository)));
  }

  async belongings(repository: Repository, digest: Digest): Promise<HeldImage[]> {
    const rows = await this.#inTurns((sql, after) =>
      sql.belongings.iterate({ ...repository, whole: digest, after }),
    );
    return rows.map(toImage);
  }

  async contents(manifest: Digest): Promise<Discarded[]> {
    return this.#inTurns((sql, after) => sql.contents.iterate({ whole: manifest, after }));
  }

  namedOnlyBy(digest: Digest, gone: ReadonlySet<Digest>): Promise<boolean> {
    return this.#run((sql) => {
      for (const manifest of sql.names.iterate(digest)) if (!gone.has(manifest)) return false;
      return true;
    });
  }

  heldElsewhere(repository: Repository, digest: Digest): Promise<boolean> {
    return this.#run((sql) => sql.elsewhere.get(digest, ...place(repository)) !== undefined);
  }

  drop(repository: Repository, digest: Digest): Promise<boolean> {
    return this.#run((sql) => sql.dropInOne(repository, digest));
  }

  discard(before: number, ahead: number, limit: number): Promise<Discarded[]> {
    return this.#run((sql) => sql.discardInOne(before, ahead, limit));
  }

  orphans(before: number, ahead: number, limit: number): Promise<Discarded[]> {
    return this.#run((sql) => sql.someOrphans(before, ahead, limit));
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
