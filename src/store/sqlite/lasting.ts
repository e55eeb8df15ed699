/** The tables whose rows outlive what they are about, in both files. */
import type Database from "better-sqlite3";
import type { Digest } from "../../oci/digest.ts";
import type { RepositoryName } from "../../oci/reference.ts";
import type { LastingRow, LastingTable } from "../evict/lasting.ts";
import type { Run, SqliteFile } from "./database.ts";

interface Columns {
  /** Its primary key, which begins with upstream and repository. */
  readonly key: readonly string[];
  /** When a row was written; 0 where no column says it. */
  readonly at: string;
  readonly digest: string;
}

const tables: Readonly<Record<LastingTable["name"], Columns>> = {
  visibility: { key: ["upstream", "repository"], at: "checked_at", digest: "NULL" },
  sighting: { key: ["upstream", "repository", "digest", "tag"], at: "first_at", digest: "digest" },
  immutable_tag: { key: ["upstream", "repository", "tag"], at: "since", digest: "digest" },
  verdict: { key: ["upstream", "repository", "digest", "policy"], at: "0", digest: "digest" },
};

interface Row {
  readonly upstream: string;
  readonly name: RepositoryName;
  readonly digest: Digest | null;
  readonly at: number;
  readonly key: string;
}

function prepareTable(database: Database.Database, name: LastingTable["name"]) {
  const { key, at, digest } = tables[name];
  // Without a time, a comparison with a constant would keep SQLite from searching the key.
  const order = at === "0" ? key.join(", ") : [at, ...key].join(", ");
  const marks = order.replaceAll(/\w+/g, "?");
  const columns = `upstream, repository AS name, ${digest} AS digest, ${at} AS at, json_array(${key.join(", ")}) AS key`;
  return {
    count: database.prepare<[], number>(`SELECT count(*) FROM ${name}`).pluck(),
    page: database.prepare<unknown[], Row>(
      `SELECT ${columns} FROM ${name} WHERE (${order}) > (${marks}) ORDER BY ${order} LIMIT ?`,
    ),
    forget: database.prepare(
      `DELETE FROM ${name} WHERE (${key.join(", ")}) = (${key.map(() => "?").join(", ")})`,
    ),
  };
}

/** {@link LastingTable} in SQLite. */
export class SqliteLastingTable implements LastingTable {
  readonly name: LastingTable["name"];
  readonly #run: Run<ReturnType<typeof prepareTable>>;

  constructor(file: SqliteFile, name: LastingTable["name"]) {
    this.name = name;
    this.#run = file.with((database) => prepareTable(database, name));
  }

  count(): Promise<number> {
    return this.#run((sql) => sql.count.get() ?? 0);
  }

  async page(after: LastingRow | undefined, limit: number): Promise<readonly LastingRow[]> {
    const { key, at } = tables[this.name];
    const from = after ? after.key : key.map(() => "");
    const time = at === "0" ? [] : [after?.at ?? -1];
    const rows = await this.#run((sql) => sql.page.all(...time, ...from, limit));
    return rows.map(({ upstream, name, digest, at, key }) => ({
      repository: { upstream, name },
      digest: digest ?? undefined,
      at,
      key: JSON.parse(key) as readonly string[],
    }));
  }

  forget({ key }: LastingRow): Promise<void> {
    return this.#run((sql) => void sql.forget.run(...key));
  }
}
