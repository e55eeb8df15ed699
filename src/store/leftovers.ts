/** What a crash left in `ingest/`: large pieces are kept for the next pull of their blob, the rest is removed. */
import { randomUUID } from "node:crypto";
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { algorithmOf, hexOf, parseDigest, type Digest } from "../oci/digest.ts";

/** Pieces from this size on are worth hashing again, in bytes: what is smaller is fetched as fast. */
export const worthKeeping = 256 * 1024 * 1024;

/** A piece of a blob that an earlier process had fetched. */
export interface Leftover {
  readonly path: string;
  readonly size: number;
}

/** A name for a blob on its way in; it tells which one it is. */
export function ingestName(digest: Digest): string {
  return `${algorithmOf(digest)}-${hexOf(digest)}.${randomUUID()}`;
}

/** The files in `folder` that can be gone on with, the largest of each blob, and those that cannot. */
export async function findLeftovers(folder: string) {
  const kept = new Map<Digest, Leftover>();
  const useless: string[] = [];
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const digest = parseDigest(name.replace("-", ":").replace(/\..*$/, ""));
    const { size } = await stat(path);
    const other = digest && kept.get(digest);
    if (!digest || size < worthKeeping || (other && other.size >= size)) {
      useless.push(path);
      continue;
    }
    if (other) useless.push(other.path);
    kept.set(digest, { path, size });
  }
  return { kept, useless };
}

/** Removes what cannot be gone on with, and gives the rest. Nothing may be on its way in. */
export async function sweepLeftovers(folder: string): Promise<Map<Digest, Leftover>> {
  const { kept, useless } = await findLeftovers(folder);
  for (const path of useless) await rm(path, { recursive: true });
  return kept;
}
