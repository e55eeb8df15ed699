/** What the status API and the page show of repositories that not all clients may pull: that there is one, and not which. */
import type { Pattern } from "../oci/pattern.ts";
import { parseRepositoryName, type Repository, type RepositoryName } from "../oci/reference.ts";
import type { SpendRow } from "../quota/ledger.ts";

/** May the viewer know of a repository? */
export type MayRead = (repository: Repository) => Promise<boolean>;

/** Stands in for a name. */
export const redacted = "(private)";

/** The repository in a whole name such as `docker.io/library/nginx`, with or without tag or digest; undefined in other texts. */
export function repositoryIn(name: string): Repository | undefined {
  const [, upstream = "", path = ""] = /^([^/@]+)\/([^@:]+)(?:[@:].*)?$/.exec(name) ?? [];
  const parsed = parseRepositoryName(path);
  return parsed && { upstream, name: parsed };
}

/** May the viewer know of an image pattern? Of one for several repositories, only where all of its upstream are public. */
export async function mayReadPattern({ text, repository }: Pattern, mayRead: MayRead): Promise<boolean> {
  if (!repository) return true;
  // A glob is the name of no repository, and treated like one that was never pulled.
  const [, upstream = "", path = ""] = /^([^/]*)\/(.*)$/.exec(text) ?? [];
  return mayRead(repositoryIn(text) ?? { upstream, name: path as RepositoryName });
}

/** Joins the rows that must not be named into one. Rows that name no repository, such as that of all others, stay. */
export async function redact(rows: readonly SpendRow[], mayRead: MayRead): Promise<readonly SpendRow[]> {
  const shown: SpendRow[] = [];
  let hidden: SpendRow | undefined;
  for (const row of rows) {
    const repository = repositoryIn(row.key);
    if (!repository || (await mayRead(repository))) shown.push(row);
    else hidden = hidden ? sum(hidden, row) : { ...row, key: redacted };
  }
  return hidden ? [...shown, hidden].toSorted((a, b) => b.spent - a.spent || b.refused - a.refused) : rows;
}

function sum(one: SpendRow, other: SpendRow): SpendRow {
  return {
    key: one.key,
    spent: one.spent + other.spent,
    refused: one.refused + other.refused,
    lastAt: Math.max(one.lastAt, other.lastAt),
  };
}
