/** What is told of repositories to who may not know of them: that there was something, and not what. */
import type { Pattern } from "../oci/pattern.ts";
import { parseRepositoryName, type Repository, type RepositoryName } from "../oci/reference.ts";
import type { SpendRow } from "../quota/ledger.ts";

/** May who looks be told of a repository? */
export type MayRead = (repository: Repository) => Promise<boolean>;

/** Stands in for a name. */
export const redacted = "(private)";

/** The repository in a whole name such as `docker.io/library/nginx`, with a tag or digest or without; undefined in what is none. */
export function repositoryIn(name: string): Repository | undefined {
  const [, upstream = "", path = ""] = /^([^/@]+)\/([^@:]+)(?:[@:].*)?$/.exec(name) ?? [];
  const parsed = parseRepositoryName(path);
  return parsed && { upstream, name: parsed };
}

/** May the pattern of an image be told? One of several repositories only where all of its upstream are everybody's. */
export async function mayReadRepository({ text, repository }: Pattern, mayKnow: MayRead): Promise<boolean> {
  if (!repository) return true;
  // A glob is the name of no repository, so nothing is known of it, as of any other that was never pulled.
  const [, upstream = "", path = ""] = /^([^/]*)\/(.*)$/.exec(text) ?? [];
  return mayKnow(repositoryIn(text) ?? { upstream, name: path as RepositoryName });
}

/** Sums by repository. Those that must not be named become one. What names no repository, such as the sum of others, stays. */
export async function redact(rows: readonly SpendRow[], mayKnow: MayRead): Promise<readonly SpendRow[]> {
  const shown: SpendRow[] = [];
  let hidden: SpendRow | undefined;
  for (const row of rows) {
    const repository = repositoryIn(row.key);
    if (!repository || (await mayKnow(repository))) shown.push(row);
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
