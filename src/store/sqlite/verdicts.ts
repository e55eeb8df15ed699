/** What policies have said of manifests, in the catalog's file. */
import type Database from "better-sqlite3";
import { dockerList, manifestTypes, ociIndex } from "../../oci/descriptor.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Repository } from "../../oci/reference.ts";
import type { PolicyName, RefusalReason, Verdict, Verdicts } from "../catalog.ts";
import { repositoryKey, type RepositoryKey, type Run, type SqliteFile } from "./database.ts";

interface VerdictRow {
  reason: RefusalReason | null;
  why: string | null;
  until: number | null;
}

function prepareVerdicts(database: Database.Database) {
  const here = "upstream = ? AND repository = ?";
  return {
    of: database.prepare<[...RepositoryKey, string, string], VerdictRow>(
      `SELECT reason, why, until FROM verdict WHERE ${here} AND digest = ? AND policy = ?`,
    ),
    keep: database.prepare<[...RepositoryKey, string, string, string | null, string | null, number | null]>(
      "INSERT OR REPLACE INTO verdict VALUES (?, ?, ?, ?, ?, ?, ?)",
    ),
    namedByAllowed: database
      .prepare<[string, ...RepositoryKey, string, string], number>(
        `SELECT 1 FROM named JOIN verdict ON verdict.digest = named.manifest
         JOIN manifest ON manifest.digest = named.manifest
         WHERE named.digest = ? AND ${here} AND reason IS NULL
           AND policy IN (SELECT value FROM json_each(?))
           AND media_type IN (SELECT value FROM json_each(?)) LIMIT 1`,
      )
      .pluck(),
    namers: database
      .prepare<[string, ...RepositoryKey], Digest>(
        `SELECT manifest FROM named JOIN held ON held.digest = named.manifest
         WHERE named.digest = ? AND ${here} LIMIT 16`,
      )
      .pluck(),
    namersAnywhere: database
      .prepare<[string], Digest>("SELECT manifest FROM named WHERE digest = ? LIMIT 1000")
      .pluck(),
    prune: database.prepare<[string]>(
      "DELETE FROM verdict WHERE policy NOT IN (SELECT value FROM json_each(?))",
    ),
  };
}

/** {@link Verdicts} in SQLite. */
export class SqliteVerdicts implements Verdicts {
  readonly #run: Run<ReturnType<typeof prepareVerdicts>>;

  constructor(file: SqliteFile) {
    this.#run = file.with(prepareVerdicts);
  }

  async of(repository: Repository, digest: Digest, policy: PolicyName): Promise<Verdict | undefined> {
    const row = await this.#run((sql) => sql.of.get(...repositoryKey(repository), digest, policy));
    if (!row) return undefined;
    const { reason, why, until } = row;
    return { ...(reason && { refusal: { reason, why: why ?? "" } }), ...(until !== null && { until }) };
  }

  keep(
    repository: Repository,
    digest: Digest,
    policy: PolicyName,
    { refusal, until }: Verdict,
  ): Promise<void> {
    const { reason = null, why = null } = refusal ?? {};
    return this.#run(
      (sql) => void sql.keep.run(...repositoryKey(repository), digest, policy, reason, why, until ?? null),
    );
  }

  isNamedByAllowed(
    repository: Repository,
    digest: Digest,
    policies: readonly PolicyName[],
    by: "any" | "index",
  ): Promise<boolean> {
    const types = JSON.stringify(by === "any" ? manifestTypes : [ociIndex, dockerList]);
    return this.#run(
      (sql) =>
        sql.namedByAllowed.get(digest, ...repositoryKey(repository), JSON.stringify(policies), types) !==
        undefined,
    );
  }

  namers(repository: Repository, digest: Digest): Promise<Digest[]> {
    return this.#run((sql) => sql.namers.all(digest, ...repositoryKey(repository)));
  }

  namersAnywhere(digest: Digest): Promise<Digest[]> {
    return this.#run((sql) => sql.namersAnywhere.all(digest));
  }

  prune(policies: readonly PolicyName[]): Promise<void> {
    return this.#run((sql) => void sql.prune.run(JSON.stringify(policies)));
  }
}
