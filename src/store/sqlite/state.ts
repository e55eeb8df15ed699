/** The state in SQLite: one class for each of its tables. */
import type Database from "better-sqlite3";
import type { Digest } from "../../oci/digest.ts";
import { formatImage, parseTag, type Repository, type Tag } from "../../oci/reference.ts";
import type {
  Anchors,
  PinOwner,
  PinTable,
  Sightings,
  Visibilities,
  Visibility,
  WarmJobTable,
} from "../state.ts";

type Place = [upstream: string, repository: string];
const place = ({ upstream, name }: Repository): Place => [upstream, name];
const here = "upstream = ? AND repository = ?";

export class SqlitePins implements PinTable {
  readonly #sql;
  readonly #replace;

  constructor(database: Database.Database) {
    this.#sql = {
      all: database.prepare<[], string>("SELECT pattern FROM pin ORDER BY pattern").pluck(),
      add: database.prepare<[string, number]>("INSERT OR IGNORE INTO pin VALUES (?, ?)"),
      remove: database.prepare<[string]>("DELETE FROM pin WHERE pattern = ?"),
      owned: database
        .prepare<[string], string>("SELECT pattern FROM pin_owned WHERE owner = ? ORDER BY pattern")
        .pluck(),
      clear: database.prepare<[string]>("DELETE FROM pin_owned WHERE owner = ?"),
      own: database.prepare<[string, string, number]>("INSERT OR IGNORE INTO pin_owned VALUES (?, ?, ?)"),
    };
    this.#replace = database.transaction((owner: PinOwner, patterns: readonly string[], pinnedAt: number) => {
      this.#sql.clear.run(owner);
      for (const pattern of patterns) this.#sql.own.run(owner, pattern, pinnedAt);
    });
  }

  async all(): Promise<readonly string[]> {
    return this.#sql.all.all();
  }

  async add(pattern: string, pinnedAt: number): Promise<void> {
    this.#sql.add.run(pattern, pinnedAt);
  }

  async remove(pattern: string): Promise<void> {
    this.#sql.remove.run(pattern);
  }

  async owned(owner: PinOwner): Promise<readonly string[]> {
    return this.#sql.owned.all(owner);
  }

  async replace(owner: PinOwner, patterns: readonly string[], pinnedAt: number): Promise<void> {
    this.#replace(owner, patterns, pinnedAt);
  }
}

export class SqliteAnchors implements Anchors {
  readonly #sql;
  readonly #prune;

  constructor(database: Database.Database) {
    this.#sql = {
      of: database
        .prepare<[...Place, string], Digest>(`SELECT digest FROM immutable_tag WHERE ${here} AND tag = ?`)
        .pluck(),
      all: database.prepare<[], { upstream: string; name: Repository["name"]; tag: string }>(
        "SELECT upstream, repository AS name, tag FROM immutable_tag",
      ),
      keep: database.prepare<[...Place, string, string, number]>(
        "INSERT OR IGNORE INTO immutable_tag VALUES (?, ?, ?, ?, ?)",
      ),
      forget: database.prepare<[...Place, string]>(`DELETE FROM immutable_tag WHERE ${here} AND tag = ?`),
    };
    this.#prune = database.transaction((immutable: (repository: Repository, tag: Tag) => boolean) => {
      for (const { tag: text, ...repository } of this.#sql.all.all()) {
        const tag = parseTag(text);
        if (!tag || !immutable(repository, tag)) this.#sql.forget.run(...place(repository), text);
      }
    });
  }

  async of(repository: Repository, tag: Tag): Promise<Digest | undefined> {
    return this.#sql.of.get(...place(repository), tag);
  }

  async keep(repository: Repository, tag: Tag, digest: Digest, at: number): Promise<Digest> {
    this.#sql.keep.run(...place(repository), tag, digest, at);
    const kept = this.#sql.of.get(...place(repository), tag);
    if (!kept) throw new Error(`${formatImage(repository, tag)} was kept and is not there`);
    return kept;
  }

  async prune(immutable: (repository: Repository, tag: Tag) => boolean): Promise<void> {
    this.#prune(immutable);
  }
}

export class SqliteSightings implements Sightings {
  readonly #sql;

  constructor(database: Database.Database) {
    const digests = "digest IN (SELECT value FROM json_each(?))";
    this.#sql = {
      note: database.prepare<[...Place, string, string, number]>(
        "INSERT OR IGNORE INTO sighting VALUES (?, ?, ?, ?, ?)",
      ),
      since: database
        .prepare<[...Place, string], number | null>(
          `SELECT min(first_at) FROM sighting WHERE ${here} AND ${digests}`,
        )
        .pluck(),
      tags: database
        .prepare<[...Place, string], string>(
          `SELECT DISTINCT tag FROM sighting WHERE ${here} AND ${digests} AND tag <> '' ORDER BY tag LIMIT 64`,
        )
        .pluck(),
    };
  }

  async note(repository: Repository, digest: Digest, tag: Tag | undefined, at: number): Promise<void> {
    this.#sql.note.run(...place(repository), digest, tag ?? "", at);
  }

  async since(repository: Repository, digests: readonly Digest[]): Promise<number | undefined> {
    return this.#sql.since.get(...place(repository), JSON.stringify(digests)) ?? undefined;
  }

  async tags(repository: Repository, digests: readonly Digest[]): Promise<readonly Tag[]> {
    const found = this.#sql.tags.all(...place(repository), JSON.stringify(digests));
    return found.flatMap((tag) => parseTag(tag) ?? []);
  }
}

export class SqliteVisibilities implements Visibilities {
  readonly #sql;

  constructor(database: Database.Database) {
    this.#sql = {
      of: database.prepare<[...Place], { readonly isPublic: 0 | 1; readonly checkedAt: number }>(
        `SELECT public AS isPublic, checked_at AS checkedAt FROM visibility WHERE ${here}`,
      ),
      mark: database.prepare<[...Place, 0 | 1, number]>(
        "INSERT OR REPLACE INTO visibility VALUES (?, ?, ?, ?)",
      ),
    };
  }

  async of(repository: Repository): Promise<Visibility | undefined> {
    const row = this.#sql.of.get(...place(repository));
    return row && { isPublic: row.isPublic === 1, checkedAt: row.checkedAt };
  }

  async mark(repository: Repository, { isPublic, checkedAt }: Visibility): Promise<void> {
    this.#sql.mark.run(...place(repository), isPublic ? 1 : 0, checkedAt);
  }
}

export class SqliteWarmJobs implements WarmJobTable {
  readonly #sql;

  constructor(database: Database.Database) {
    this.#sql = {
      all: database.prepare<[], string>("SELECT body FROM warm_job ORDER BY created_at, id").pluck(),
      keep: database.prepare<[string, number, string]>("INSERT OR REPLACE INTO warm_job VALUES (?, ?, ?)"),
      remove: database.prepare<[string]>("DELETE FROM warm_job WHERE id = ?"),
    };
  }

  async all(): Promise<readonly string[]> {
    return this.#sql.all.all();
  }

  async keep(id: string, createdAt: number, body: string): Promise<void> {
    this.#sql.keep.run(id, createdAt, body);
  }

  async remove(id: string): Promise<void> {
    this.#sql.remove.run(id);
  }
}
