/** The catalog: which repository holds what, and which tag meant which digest. It can be rebuilt; the blobs prove themselves. */
import type Database from "better-sqlite3";
import { dockerList, ociIndex } from "../../oci/descriptor.ts";
import type { Digest } from "../../oci/digest.ts";
import { formatImage, type Repository, type RepositoryName, type Tag } from "../../oci/reference.ts";
import type { Catalog, HeldManifest, Listing, ManifestNature, Naming, TagRecord } from "../catalog.ts";
import { repositoryKey, type RepositoryKey, type Run, type SqliteFile } from "./database.ts";
import { LRUCache } from "lru-cache";

/**
 * Who holds the manifests that were found on disk, until the upstream of a repository answers for them: so they are used
 * less and less, and go, as all others do. No client can ask for a repository of this name.
 */
const found: Repository = { upstream: "(found)", name: "(found)" as RepositoryName };

interface ManifestRow {
  digest: Digest;
  mediaType: string;
  size: number;
}

interface TagRow extends ManifestRow {
  checkedAt: number;
  alternate: string | null;
  heldDigest: Digest | null;
  heldMediaType: string;
  heldSize: number;
}

/** Every statement that the catalog puts to SQLite, prepared once for each database. */
function prepareCatalog(database: Database.Database, now: () => number) {
  const here = "upstream = ? AND repository = ?";
  const types = [ociIndex, dockerList].map((type) => `'${type}'`).join(", ");
  // What the row `tag` means can be served: a manifest that is held, and of an index at least one that it names.
  const servable = `EXISTS (
    SELECT 1 FROM held JOIN manifest USING (digest)
    WHERE held.upstream = tag.upstream AND held.repository = tag.repository AND digest = tag.digest
      AND (media_type NOT IN (${types}) OR NOT EXISTS (SELECT 1 FROM named WHERE manifest = tag.digest)
        OR EXISTS (SELECT 1 FROM named JOIN held AS child USING (digest) WHERE named.manifest = tag.digest
          AND child.upstream = tag.upstream AND child.repository = tag.repository)))`;
  const sql = {
    blob: database
      .prepare<[...RepositoryKey, string], number>(
        `SELECT size FROM held JOIN blob USING (digest) WHERE ${here} AND digest = ?`,
      )
      .pluck(),
    blobAnywhere: database.prepare<[string], number>("SELECT size FROM blob WHERE digest = ?").pluck(),
    manifest: database.prepare<[...RepositoryKey, string], ManifestRow>(
      `SELECT digest, media_type AS mediaType, size
       FROM held JOIN manifest USING (digest) JOIN blob USING (digest) WHERE ${here} AND digest = ?`,
    ),
    manifestAnywhere: database.prepare<[string], ManifestRow>(
      "SELECT digest, media_type AS mediaType, size FROM manifest JOIN blob USING (digest) WHERE digest = ?",
    ),
    tag: database.prepare<[...RepositoryKey, string], TagRow>(
      `SELECT tag.digest, tag.media_type AS mediaType, tag.size, checked_at AS checkedAt, alternate,
         blob.digest AS heldDigest, manifest.media_type AS heldMediaType, blob.size AS heldSize
       FROM tag LEFT JOIN (blob JOIN manifest USING (digest)) ON blob.digest = COALESCE(last_held, tag.digest)
       WHERE ${here} AND tag = ?`,
    ),
    indexesOf: database
      .prepare<[string, ...RepositoryKey], Digest>(
        `SELECT named.manifest FROM named JOIN held ON held.digest = named.manifest
         JOIN manifest ON manifest.digest = named.manifest
         WHERE named.digest = ? AND ${here} AND media_type IN (${types}) LIMIT 16`,
      )
      .pluck(),
    tagged: database
      .prepare<[...RepositoryKey, string], string>(
        `SELECT media_type FROM tag WHERE ${here} AND digest = ? LIMIT 1`,
      )
      .pluck(),
    listing: database.prepare<[...RepositoryKey, string], Listing>(
      `SELECT body, checked_at AS checkedAt FROM listing WHERE ${here} AND subject = ?`,
    ),
    listedAt: database
      .prepare<[...RepositoryKey, string], number>(
        `SELECT checked_at FROM listing WHERE ${here} AND subject = ?`,
      )
      .pluck(),
    addBlob: database.prepare<[string, number, number]>(
      "INSERT INTO blob VALUES (?, ?, ?) ON CONFLICT (digest) DO UPDATE SET size = excluded.size",
    ),
    // Not OR REPLACE: that would delete the old row without the triggers that keep the sums.
    addManifest: database.prepare<[string, string, string | null]>(
      `INSERT INTO manifest VALUES (?, ?, ?) ON CONFLICT (digest)
       DO UPDATE SET media_type = excluded.media_type, subject = excluded.subject`,
    ),
    addNamed: database.prepare<[string, string]>("INSERT OR IGNORE INTO named VALUES (?, ?)"),
    link: database.prepare<[...RepositoryKey, string]>("INSERT OR IGNORE INTO held VALUES (?, ?, ?)"),
    addImage: database.prepare<[number, number, ...RepositoryKey, string]>(
      `INSERT OR IGNORE INTO image SELECT upstream, repository, digest, ?, ?, 0
       FROM held JOIN manifest USING (digest) WHERE ${here} AND digest = ?`,
    ),
    tagHeld: database.prepare<[...RepositoryKey, string, string]>(
      `UPDATE tag SET last_held = digest WHERE ${here}
       AND digest IN (SELECT ? UNION SELECT manifest FROM named WHERE digest = ?) AND ${servable}`,
    ),
    resolve: database.prepare<[...RepositoryKey, string, string, string, number, number, string | null]>(
      `INSERT INTO tag VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)
       ON CONFLICT DO UPDATE SET digest = excluded.digest, media_type = excluded.media_type,
         size = excluded.size, checked_at = excluded.checked_at, alternate = excluded.alternate`,
    ),
    resolveHeld: database.prepare<[...RepositoryKey, string]>(
      `UPDATE tag SET last_held = digest WHERE ${here} AND tag = ? AND ${servable}`,
    ),
    forgetTag: database.prepare<[...RepositoryKey, string]>(`DELETE FROM tag WHERE ${here} AND tag = ?`),
    forgetTagsOf: database.prepare<[...RepositoryKey, string]>(
      `DELETE FROM tag WHERE ${here} AND digest = ?`,
    ),
    keepListing: database.prepare<[...RepositoryKey, string, string, number]>(
      `INSERT INTO listing VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET body = excluded.body, checked_at = excluded.checked_at`,
    ),
    forgetNamed: database.prepare<[string]>("DELETE FROM named WHERE manifest = ?"),
    forgetManifest: database.prepare<[string]>("DELETE FROM manifest WHERE digest = ?"),
    forgetImage: database.prepare<[string]>("DELETE FROM image WHERE digest = ?"),
    forgetHeld: database.prepare<[string]>("DELETE FROM held WHERE digest = ?"),
    forgetBlob: database.prepare<[string]>("DELETE FROM blob WHERE digest = ?"),
  };

  const addBlob = (digest: Digest, size: number, as: ManifestNature | undefined): void => {
    sql.addBlob.run(digest, size, now());
    if (!as) return;
    sql.addManifest.run(digest, as.mediaType, as.subject ?? null);
    for (const named of as.names) sql.addNamed.run(digest, named);
  };
  const link = (repository: Repository, digest: Digest): void => {
    const at = now();
    sql.link.run(...repositoryKey(repository), digest);
    sql.addImage.run(at, at, ...repositoryKey(repository), digest);
    sql.tagHeld.run(...repositoryKey(repository), digest, digest);
  };
  return {
    ...sql,
    cache: new QueryCache(database),
    adopt: database.transaction((digest: Digest, size: number, as: ManifestNature | undefined) => {
      addBlob(digest, size, as);
      if (as) link(found, digest);
    }),
    holdManifest: database.transaction(
      (repository: Repository, manifest: HeldManifest, names: readonly Digest[], subject?: Digest) => {
        const { digest, mediaType, size } = manifest;
        addBlob(digest, size, { mediaType, names, ...(subject && { subject }) });
        link(repository, digest);
      },
    ),
    holdBlob: database.transaction((repository: Repository, digest: Digest, size: number) => {
      sql.addBlob.run(digest, size, now());
      sql.link.run(...repositoryKey(repository), digest);
    }),
    linkInOne: database.transaction(link),
    resolveInOne: database.transaction(
      (
        repository: Repository,
        tag: Tag,
        { digest, mediaType, size }: HeldManifest,
        checkedAt: number,
        alternate: string | undefined,
      ) => {
        sql.resolve.run(
          ...repositoryKey(repository),
          tag,
          digest,
          mediaType,
          size,
          checkedAt,
          alternate ?? null,
        );
        sql.resolveHeld.run(...repositoryKey(repository), tag);
      },
    ),
    forget: database.transaction((digest: Digest) => {
      sql.forgetNamed.run(digest);
      sql.forgetManifest.run(digest);
      sql.forgetImage.run(digest);
      sql.forgetHeld.run(digest);
      sql.forgetBlob.run(digest);
    }),
  };
}

/** {@link Catalog} in SQLite. */
export class SqliteCatalog implements Catalog {
  readonly #run: Run<ReturnType<typeof prepareCatalog>>;

  constructor(file: SqliteFile, now: () => number = Date.now) {
    this.#run = file.with((database) => prepareCatalog(database, now));
  }

  blob(repository: Repository, digest: Digest): Promise<number | undefined> {
    return this.#run((sql) => sql.blob.get(...repositoryKey(repository), digest));
  }

  blobAnywhere(digest: Digest): Promise<number | undefined> {
    return this.#run((sql) => sql.blobAnywhere.get(digest));
  }

  manifest(repository: Repository, digest: Digest): Promise<HeldManifest | undefined> {
    return this.#run((sql) =>
      sql.cache.answer(formatImage(repository, digest), () =>
        sql.manifest.get(...repositoryKey(repository), digest),
      ),
    );
  }

  manifestAnywhere(digest: Digest): Promise<HeldManifest | undefined> {
    return this.#run((sql) => sql.manifestAnywhere.get(digest));
  }

  tag(repository: Repository, tag: Tag): Promise<TagRecord | undefined> {
    return this.#run((sql) =>
      sql.cache.answer(formatImage(repository, tag), () => {
        const row = sql.tag.get(...repositoryKey(repository), tag);
        return row && recordOf(row);
      }),
    );
  }

  naming(repository: Repository, digest: Digest): Promise<Naming> {
    const key = repositoryKey(repository);
    return this.#run(({ indexesOf, tagged }) => {
      return { indexes: indexesOf.all(digest, ...key), tagged: tagged.get(...key, digest) };
    });
  }

  listing(repository: Repository, subject: string): Promise<Listing | undefined> {
    return this.#run((sql) => sql.listing.get(...repositoryKey(repository), subject));
  }

  listedAt(repository: Repository, subject: string): Promise<number | undefined> {
    return this.#run((sql) => sql.listedAt.get(...repositoryKey(repository), subject));
  }

  holdBlob(repository: Repository, digest: Digest, size: number): Promise<void> {
    return this.#run((sql) => sql.holdBlob(repository, digest, size));
  }

  holdManifest(
    repository: Repository,
    manifest: HeldManifest,
    names: readonly Digest[],
    subject?: Digest,
  ): Promise<void> {
    return this.#run((sql) => sql.holdManifest(repository, manifest, names, subject));
  }

  link(repository: Repository, digest: Digest): Promise<void> {
    return this.#run((sql) => sql.linkInOne(repository, digest));
  }

  resolve(
    repository: Repository,
    tag: Tag,
    descriptor: HeldManifest,
    checkedAt: number,
    alternate?: string,
  ): Promise<void> {
    return this.#run((sql) => sql.resolveInOne(repository, tag, descriptor, checkedAt, alternate));
  }

  forgetTag(repository: Repository, tag: Tag): Promise<void> {
    return this.#run((sql) => void sql.forgetTag.run(...repositoryKey(repository), tag));
  }

  forgetTagsOf(repository: Repository, digest: Digest): Promise<void> {
    return this.#run((sql) => void sql.forgetTagsOf.run(...repositoryKey(repository), digest));
  }

  keepListing(repository: Repository, subject: string, { body, checkedAt }: Listing): Promise<void> {
    return this.#run(
      (sql) => void sql.keepListing.run(...repositoryKey(repository), subject, body, checkedAt),
    );
  }

  adopt(digest: Digest, size: number, as?: ManifestNature): Promise<void> {
    return this.#run((sql) => sql.adopt(digest, size, as));
  }

  forget(digest: Digest): Promise<void> {
    return this.#run((sql) => sql.forget(digest));
  }
}

function recordOf(row: TagRow): TagRecord {
  const { digest, mediaType, size, checkedAt, alternate, heldDigest, heldMediaType, heldSize } = row;
  const held = heldDigest && { digest: heldDigest, mediaType: heldMediaType, size: heldSize };
  return {
    descriptor: { digest, mediaType, size },
    checkedAt,
    alternate: alternate ?? undefined,
    held: held ?? undefined,
  };
}

/** Bytes of answers that are kept at most, as far as they are known. */
const capacity = 8 * 1024 * 1024;

/** About what an answer takes, beside the question that it is kept under. */
const answerBytes = 500;

/** The answers of one connection: the only one that writes, or one that only reads. They took a third of the time of a manifest from SQLite. */
export class QueryCache {
  readonly #changes;
  readonly #answers = new LRUCache<string, object>({
    maxSize: capacity,
    sizeCalculation: (_answer, question) => question.length * 2 + answerBytes,
  });
  #asOf = -1;
  /** Set while a connection that only reads is not asked again what has changed: until the turn of the event loop is over. */
  #isAsked = false;

  constructor(database: Database.Database) {
    // Rows that this connection has ever changed, by whichever statement or trigger, or what another one has committed: no
    // writer can forget to tell.
    const changes = database.readonly ? "PRAGMA data_version" : "SELECT total_changes()";
    this.#changes = database.prepare<[], number>(changes).pluck();
  }

  /** What `look` found when nothing in the database was other than now. Absence is looked up each time. */
  answer<T extends object>(question: string, look: () => T | undefined): T | undefined {
    if (!this.#isAsked) this.#ask();
    // A question says of what type its answer is.
    const known = this.#answers.get(question) as T | undefined;
    if (known) return known;
    const found = look();
    if (found) this.#answers.set(question, found);
    return found;
  }

  /** Lets go of all answers when something has changed. */
  #ask(): void {
    const changes = this.#changes.get();
    if (changes !== this.#asOf) {
      this.#answers.clear();
      this.#asOf = changes ?? -1;
    }
    if (!this.#changes.database.readonly) return;
    // What others commit need not count within the turn, and to ask for each manifest took an eighth of its time.
    this.#isAsked = true;
    setImmediate(() => (this.#isAsked = false));
  }
}
