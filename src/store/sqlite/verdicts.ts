/** What was found out about images for the sake of policy: what immutable tags meant first, what was seen when, and verdicts. */
import type Database from "better-sqlite3";
import { dockerList, manifestTypes, ociIndex } from "../../oci/descriptor.ts";
import type { Digest } from "../../oci/digest.ts";
import { formatImage, parseTag, type Repository, type Tag } from "../../oci/reference.ts";

/** Why a policy refuses what it refuses, in one word for metrics. */
export type RefusalReason = "age" | "size" | "platform" | "signature";

/** What a policy says of a manifest. Times are ms since the epoch. */
export interface Verdict {
  /** Absent when the manifest may be served. */
  readonly refusal?: {
    readonly reason: RefusalReason;
    /** One sentence for people. */
    readonly why: string;
  };
  /** When it is to be asked again; absent when it holds for good. */
  readonly until?: number;
}

/** Policies are named by the hash of what they ask for, so that a changed one finds no verdicts. */
export type PolicyName = string;

/** Absence is undefined throughout. Nothing of it goes with the content when that is evicted. */
export interface Findings {
  /** What `tag` meant first, since it is immutable. */
  first(repository: Repository, tag: Tag): Promise<Digest | undefined>;
  /** Keeps `digest` as what `tag` meant first, unless there is one; gives what is kept. */
  keepFirst(repository: Repository, tag: Tag, digest: Digest, at: number): Promise<Digest>;
  /** Notes that a digest was seen, by a tag or by itself. Only the first time counts. */
  sight(repository: Repository, digest: Digest, tag: Tag | undefined, at: number): Promise<void>;
  /** When this manifest, or an index that names it, was first seen. */
  seenSince(repository: Repository, digest: Digest): Promise<number | undefined>;
  /** The tags by which this manifest, or an index that names it, was seen; some, if many. */
  tagsSeen(repository: Repository, digest: Digest): Promise<Tag[]>;
  verdict(repository: Repository, digest: Digest, policy: PolicyName): Promise<Verdict | undefined>;
  keepVerdict(repository: Repository, digest: Digest, policy: PolicyName, verdict: Verdict): Promise<void>;
  /** Does a manifest that one of these policies lets this repository serve name `digest`? An index, if `by` says so. */
  isNamedByAllowed(
    repository: Repository,
    digest: Digest,
    policies: readonly PolicyName[],
    by: "any" | "index",
  ): Promise<boolean>;
  /** The manifests held by this repository that name `digest`; some, if many. */
  namers(repository: Repository, digest: Digest): Promise<Digest[]>;
  /** Forgets verdicts of other policies than these, and what tags meant first that are not `immutable` any more. */
  prune(
    policies: readonly PolicyName[],
    immutable: (repository: Repository, tag: Tag) => boolean,
  ): Promise<void>;
}

/** The tables of findings that cannot be made again, for those who keep them when the rest of the catalog is lost. */
export const lastingFindings = [
  { prefix: "immutable_tag", version: "immutable_tag" },
  { prefix: "sighting", version: "sighting" },
] as const;

type Place = [upstream: string, repository: string];
const place = ({ upstream, name }: Repository): Place => [upstream, name];

interface VerdictRow {
  reason: RefusalReason | null;
  why: string | null;
  until: number | null;
}

interface FirstRow {
  upstream: string;
  name: Repository["name"];
  tag: string;
}

/** {@link Findings} in SQLite. */
export class SqliteFindings implements Findings {
  readonly #database: Database.Database;
  readonly #sql;

  constructor(database: Database.Database) {
    this.#database = database;
    const here = "upstream = ? AND repository = ?";
    const digests = "digest IN (SELECT ? UNION SELECT manifest FROM named WHERE digest = ?)";
    this.#sql = {
      first: database
        .prepare<[...Place, string], Digest>(`SELECT digest FROM immutable_tag WHERE ${here} AND tag = ?`)
        .pluck(),
      firsts: database.prepare<[], FirstRow>("SELECT upstream, repository AS name, tag FROM immutable_tag"),
      keepFirst: database.prepare<[...Place, string, string, number]>(
        "INSERT OR IGNORE INTO immutable_tag VALUES (?, ?, ?, ?, ?)",
      ),
      forgetFirst: database.prepare<[...Place, string]>(
        `DELETE FROM immutable_tag WHERE ${here} AND tag = ?`,
      ),
      sight: database.prepare<[...Place, string, string, number]>(
        "INSERT OR IGNORE INTO sighting VALUES (?, ?, ?, ?, ?)",
      ),
      seenSince: database
        .prepare<[...Place, string, string], number | null>(
          `SELECT min(first_at) FROM sighting WHERE ${here} AND ${digests}`,
        )
        .pluck(),
      tagsSeen: database
        .prepare<[...Place, string, string], string>(
          `SELECT DISTINCT tag FROM sighting WHERE ${here} AND ${digests} AND tag <> '' ORDER BY tag LIMIT 64`,
        )
        .pluck(),
      verdict: database.prepare<[...Place, string, string], VerdictRow>(
        `SELECT reason, why, until FROM verdict WHERE ${here} AND digest = ? AND policy = ?`,
      ),
      keepVerdict: database.prepare<[...Place, string, string, string | null, string | null, number | null]>(
        "INSERT OR REPLACE INTO verdict VALUES (?, ?, ?, ?, ?, ?, ?)",
      ),
      namedByAllowed: database
        .prepare<[string, ...Place, string, string], number>(
          `SELECT 1 FROM named JOIN verdict ON verdict.digest = named.manifest
           JOIN manifest ON manifest.digest = named.manifest
           WHERE named.digest = ? AND ${here} AND reason IS NULL
             AND policy IN (SELECT value FROM json_each(?))
             AND media_type IN (SELECT value FROM json_each(?)) LIMIT 1`,
        )
        .pluck(),
      namers: database
        .prepare<[string, ...Place], Digest>(
          `SELECT manifest FROM named JOIN held ON held.digest = named.manifest
           WHERE named.digest = ? AND ${here} LIMIT 16`,
        )
        .pluck(),
      prune: database.prepare<[string]>(
        "DELETE FROM verdict WHERE policy NOT IN (SELECT value FROM json_each(?))",
      ),
    };
  }

  async first(repository: Repository, tag: Tag): Promise<Digest | undefined> {
    return this.#sql.first.get(...place(repository), tag);
  }

  async keepFirst(repository: Repository, tag: Tag, digest: Digest, at: number): Promise<Digest> {
    this.#sql.keepFirst.run(...place(repository), tag, digest, at);
    const kept = await this.first(repository, tag);
    if (!kept) throw new Error(`${formatImage(repository, tag)} was kept and is not there`);
    return kept;
  }

  async sight(repository: Repository, digest: Digest, tag: Tag | undefined, at: number): Promise<void> {
    this.#sql.sight.run(...place(repository), digest, tag ?? "", at);
  }

  async seenSince(repository: Repository, digest: Digest): Promise<number | undefined> {
    return this.#sql.seenSince.get(...place(repository), digest, digest) ?? undefined;
  }

  async tagsSeen(repository: Repository, digest: Digest): Promise<Tag[]> {
    return this.#sql.tagsSeen.all(...place(repository), digest, digest).flatMap((tag) => parseTag(tag) ?? []);
  }

  async verdict(repository: Repository, digest: Digest, policy: PolicyName): Promise<Verdict | undefined> {
    const row = this.#sql.verdict.get(...place(repository), digest, policy);
    if (!row) return undefined;
    const { reason, why, until } = row;
    return { ...(reason && { refusal: { reason, why: why ?? "" } }), ...(until !== null && { until }) };
  }

  async keepVerdict(
    repository: Repository,
    digest: Digest,
    policy: PolicyName,
    { refusal, until }: Verdict,
  ): Promise<void> {
    const { reason = null, why = null } = refusal ?? {};
    this.#sql.keepVerdict.run(...place(repository), digest, policy, reason, why, until ?? null);
  }

  async isNamedByAllowed(
    repository: Repository,
    digest: Digest,
    policies: readonly PolicyName[],
    by: "any" | "index",
  ): Promise<boolean> {
    const types = JSON.stringify(by === "any" ? manifestTypes : [ociIndex, dockerList]);
    const { namedByAllowed } = this.#sql;
    return namedByAllowed.get(digest, ...place(repository), JSON.stringify(policies), types) !== undefined;
  }

  async namers(repository: Repository, digest: Digest): Promise<Digest[]> {
    return this.#sql.namers.all(digest, ...place(repository));
  }

  async prune(
    policies: readonly PolicyName[],
    immutable: (repository: Repository, tag: Tag) => boolean,
  ): Promise<void> {
    const firsts = this.#sql.firsts.all();
    this.#database.transaction(() => {
      this.#sql.prune.run(JSON.stringify(policies));
      for (const { tag: text, ...repository } of firsts) {
        const tag = parseTag(text);
        if (!tag || !immutable(repository, tag)) this.#sql.forgetFirst.run(...place(repository), text);
      }
    })();
  }
}
