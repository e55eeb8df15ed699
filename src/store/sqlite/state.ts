/** The state in SQLite: one class for each of its tables. */
import type Database from "better-sqlite3";
import type { Digest } from "../../oci/digest.ts";
import { formatImage, parseTag, type Repository, type Tag } from "../../oci/reference.ts";
import type {
  Anchors,
  PinOwner,
  PinTable,
  Proof,
  Sightings,
  Visibilities,
  Visibility,
  WarmJobTable,
} from "../state.ts";
import { repositoryKey, type RepositoryKey, type Run, type SqliteFile } from "./database.ts";

const here = "upstream = ? AND repository = ?";

function preparePins(database: Database.Database) {
  const sql = {
    all: database.prepare<[], string>("SELECT pattern FROM pin ORDER BY pattern").pluck(),
    add: database.prepare<[string, number]>("INSERT OR IGNORE INTO pin VALUES (?, ?)"),
    remove: database.prepare<[string]>("DELETE FROM pin WHERE pattern = ?"),
    owned: database
      .prepare<[string], string>("SELECT pattern FROM pin_owned WHERE owner = ? ORDER BY pattern")
      .pluck(),
    clear: database.prepare<[string]>("DELETE FROM pin_owned WHERE owner = ?"),
    own: database.prepare<[string, string, number]>("INSERT OR IGNORE INTO pin_owned VALUES (?, ?, ?)"),
  };
  const replace = database.transaction((owner: PinOwner, patterns: readonly string[], pinnedAt: number) => {
    sql.clear.run(owner);
    for (const pattern of patterns) sql.own.run(owner, pattern, pinnedAt);
  });
  return { ...sql, replaceInOne: replace };
}

export class SqlitePins implements PinTable {
  readonly #run: Run<ReturnType<typeof preparePins>>;

  constructor(file: SqliteFile) {
    this.#run = file.with(preparePins);
  }

  all(): Promise<readonly string[]> {
    return this.#run((sql) => sql.all.all());
  }

  add(pattern: string, pinnedAt: number): Promise<void> {
    return this.#run((sql) => void sql.add.run(pattern, pinnedAt));
  }

  remove(pattern: string): Promise<void> {
    return this.#run((sql) => void sql.remove.run(pattern));
  }

  owned(owner: PinOwner): Promise<readonly string[]> {
    return this.#run((sql) => sql.owned.all(owner));
  }

  replace(owner: PinOwner, patterns: readonly string[], pinnedAt: number): Promise<void> {
    return this.#run((sql) => sql.replaceInOne(owner, patterns, pinnedAt));
  }
}

function prepareAnchors(database: Database.Database) {
  const sql = {
    of: database
      .prepare<[...RepositoryKey, string], Digest>(
        `SELECT digest FROM immutable_tag WHERE ${here} AND tag = ?`,
      )
      .pluck(),
    all: database.prepare<[], { upstream: string; name: Repository["name"]; tag: string }>(
      "SELECT upstream, repository AS name, tag FROM immutable_tag",
    ),
    keep: database.prepare<[...RepositoryKey, string, string, number]>(
      "INSERT OR IGNORE INTO immutable_tag VALUES (?, ?, ?, ?, ?)",
    ),
    forget: database.prepare<[...RepositoryKey, string]>(
      `DELETE FROM immutable_tag WHERE ${here} AND tag = ?`,
    ),
  };
  const prune = database.transaction((immutable: (repository: Repository, tag: Tag) => boolean) => {
    for (const { tag: text, ...repository } of sql.all.all()) {
      const tag = parseTag(text);
      if (!tag || !immutable(repository, tag)) sql.forget.run(...repositoryKey(repository), text);
    }
  });
  return { ...sql, pruneInOne: prune };
}

export class SqliteAnchors implements Anchors {
  readonly #run: Run<ReturnType<typeof prepareAnchors>>;

  constructor(file: SqliteFile) {
    this.#run = file.with(prepareAnchors);
  }

  of(repository: Repository, tag: Tag): Promise<Digest | undefined> {
    return this.#run((sql) => sql.of.get(...repositoryKey(repository), tag));
  }

  keep(repository: Repository, tag: Tag, digest: Digest, at: number): Promise<Digest> {
    return this.#run((sql) => {
      sql.keep.run(...repositoryKey(repository), tag, digest, at);
      const kept = sql.of.get(...repositoryKey(repository), tag);
      if (!kept) throw new Error(`${formatImage(repository, tag)} was kept and is not there`);
      return kept;
    });
  }

  prune(immutable: (repository: Repository, tag: Tag) => boolean): Promise<void> {
    return this.#run((sql) => sql.pruneInOne(immutable));
  }
}

function prepareSightings(database: Database.Database) {
  const digests = "digest IN (SELECT value FROM json_each(?))";
  return {
    note: database.prepare<[...RepositoryKey, string, string, number]>(
      "INSERT OR IGNORE INTO sighting VALUES (?, ?, ?, ?, ?)",
    ),
    since: database
      .prepare<[...RepositoryKey, string], number | null>(
        `SELECT min(first_at) FROM sighting WHERE ${here} AND ${digests}`,
      )
      .pluck(),
    tags: database
      .prepare<[...RepositoryKey, string], string>(
        `SELECT DISTINCT tag FROM sighting WHERE ${here} AND ${digests} AND tag <> '' ORDER BY tag LIMIT 64`,
      )
      .pluck(),
  };
}

export class SqliteSightings implements Sightings {
  readonly #run: Run<ReturnType<typeof prepareSightings>>;

  constructor(file: SqliteFile) {
    this.#run = file.with(prepareSightings);
  }

  note(repository: Repository, digest: Digest, tag: Tag | undefined, at: number): Promise<void> {
    return this.#run((sql) => void sql.note.run(...repositoryKey(repository), digest, tag ?? "", at));
  }

  since(repository: Repository, digests: readonly Digest[]): Promise<number | undefined> {
    return this.#run(
      (sql) => sql.since.get(...repositoryKey(repository), JSON.stringify(digests)) ?? undefined,
    );
  }

  async tags(repository: Repository, digests: readonly Digest[]): Promise<readonly Tag[]> {
    const found = await this.#run((sql) =>
      sql.tags.all(...repositoryKey(repository), JSON.stringify(digests)),
    );
    return found.flatMap((tag) => parseTag(tag) ?? []);
  }
}

function prepareVisibilities(database: Database.Database) {
  return {
    of: database.prepare<[...RepositoryKey], { readonly isPublic: 0 | 1; readonly checkedAt: number }>(
      `SELECT public AS isPublic, checked_at AS checkedAt FROM visibility WHERE ${here}`,
    ),
    mark: database.prepare<[...RepositoryKey, 0 | 1, number]>(
      "INSERT OR REPLACE INTO visibility VALUES (?, ?, ?, ?)",
    ),
  };
}

export class SqliteVisibilities implements Visibilities {
  readonly #run: Run<ReturnType<typeof prepareVisibilities>>;

  constructor(file: SqliteFile) {
    this.#run = file.with(prepareVisibilities);
  }

  async of(repository: Repository): Promise<Visibility | undefined> {
    const row = await this.#run((sql) => sql.of.get(...repositoryKey(repository)));
    return row && { isPublic: row.isPublic === 1, checkedAt: row.checkedAt };
  }

  async mark(repository: Repository, { isPublic, checkedAt }: Visibility): Promise<void> {
    await this.#run((sql) => sql.mark.run(...repositoryKey(repository), isPublic ? 1 : 0, checkedAt));
  }
}

function prepareWarmJobs(database: Database.Database) {
  return {
    all: database.prepare<[], string>("SELECT body FROM warm_job ORDER BY created_at, id").pluck(),
    keep: database.prepare<[string, number, string]>("INSERT OR REPLACE INTO warm_job VALUES (?, ?, ?)"),
    remove: database.prepare<[string]>("DELETE FROM warm_job WHERE id = ?"),
  };
}

export class SqliteWarmJobs implements WarmJobTable {
  readonly #run: Run<ReturnType<typeof prepareWarmJobs>>;

  constructor(file: SqliteFile) {
    this.#run = file.with(prepareWarmJobs);
  }

  all(): Promise<readonly string[]> {
    return this.#run((sql) => sql.all.all());
  }

  keep(id: string, createdAt: number, body: string): Promise<void> {
    return this.#run((sql) => void sql.keep.run(id, createdAt, body));
  }

  remove(id: string): Promise<void> {
    return this.#run((sql) => void sql.remove.run(id));
  }
}

function prepareProof(database: Database.Database) {
  const sql = {
    since: database.prepare<[], number | null>("SELECT unproven_since FROM origin").pluck(),
    confirm: database.prepare("UPDATE origin SET unproven_since = NULL"),
    forgetBuckets: database.prepare("DELETE FROM unproven_bucket"),
  };
  const confirm = database.transaction(() => {
    sql.confirm.run();
    sql.forgetBuckets.run();
  });
  return { ...sql, confirmInOne: confirm };
}

export class SqliteProof implements Proof {
  readonly #run: Run<ReturnType<typeof prepareProof>>;

  constructor(file: SqliteFile) {
    this.#run = file.with(prepareProof);
  }

  unprovenSince(): Promise<number | undefined> {
    return this.#run((sql) => sql.since.get() ?? undefined);
  }

  confirm(): Promise<void> {
    return this.#run((sql) => sql.confirmInOne());
  }
}
