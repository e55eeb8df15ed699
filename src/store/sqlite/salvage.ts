/** What can still be read of a damaged database is carried over into its successor. */
import Database from "better-sqlite3";

/** Tables that belong together, by how their names begin. Without the row of `version` the others are worth nothing. */
export interface Kept {
  readonly prefix: string;
  readonly version: string;
}

interface Part {
  readonly type: string;
  readonly name: string;
  readonly sql: string;
}

/** Copies the tables of `damaged`, each as far as its rows can be read, and the number of rows; 0 when there is nothing to keep. */
export function salvage(damaged: string, into: Database.Database, { prefix, version }: Kept): number {
  const from = new Database(damaged, { readonly: true, timeout: 0 });
  try {
    const parts = from
      .prepare<[string, string], Part>(
        `SELECT type, name, sql FROM sqlite_schema
         WHERE substr(tbl_name, 1, length(?)) = ? AND type IN ('table', 'index') AND sql IS NOT NULL`,
      )
      .all(prefix, prefix);
    const tables = parts.filter(({ type }) => type === "table");
    const rows = new Map(tables.map(({ name }) => [name, readable(from, name)]));
    if (!rows.get(version)?.length) return 0;
    into.transaction(() => {
      for (const part of tables) create(into, part);
      for (const [name, found] of rows) insert(into, name, found);
      for (const part of parts.filter(({ type }) => type === "index")) create(into, part);
    })();
    return [...rows.values()].reduce((sum, found) => sum + found.length, 0);
  } catch {
    // What is not readable is not readable: the new file does without.
    return 0;
  } finally {
    from.close();
  }
}

/** Creates a table or an index, unless the new file has it already. */
function create(into: Database.Database, { name, sql }: Part): void {
  const known = into.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?").get(name);
  if (!known) into.exec(sql);
}

function readable(from: Database.Database, table: string): unknown[][] {
  const found: unknown[][] = [];
  try {
    for (const row of from.prepare(`SELECT * FROM "${table}"`).raw().iterate()) found.push(row as unknown[]);
  } catch {
    // The rest of this table lies on damaged pages.
  }
  return found;
}

function insert(into: Database.Database, table: string, rows: readonly unknown[][]): void {
  const places = (rows[0] ?? []).map(() => "?").join(", ");
  const add =
    rows.length > 0 ? into.prepare(`INSERT OR IGNORE INTO "${table}" VALUES (${places})`) : undefined;
  for (const row of rows) add?.run(...row);
}
