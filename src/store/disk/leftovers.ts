/** What a crash left in `ingest/`: large pieces are kept for the next pull of their blob, the rest is removed. */
import { randomUUID } from "node:crypto";
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { algorithmOf, hexOf, parseDigest, type Digest } from "../../oci/digest.ts";

/** Pieces from this size on are worth hashing again, in bytes: what is smaller is fetched as fast. */
export const worthKeeping = 256 * 1024 * 1024;

/** Leftovers that were not requested again for this long are removed at a start, in ms. */
export const keptForMs = 7 * 24 * 60 * 60_000;

/** A piece of a blob that an earlier process had fetched. */
export interface Leftover {
  readonly path: string;
  readonly size: number;
}

/** A file name for a blob on its way in; it contains the digest. */
export function ingestName(digest: Digest): string {
  return `${algorithmOf(digest)}-${hexOf(digest)}.${randomUUID()}`;
}

/** The files in `folder` that can be resumed at `now`, the largest of each blob, and those that are not. */
export async function findLeftovers(folder: string, now: number) {
  const kept = new Map<Digest, Leftover>();
  const useless: string[] = [];
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const digest = parseDigest(name.replace("-", ":").replace(/\..*$/, ""));
    const { size, mtimeMs } = await stat(path);
    const other = digest && kept.get(digest);
    const isOld = Math.abs(now - mtimeMs) > keptForMs;
    if (!digest || isOld || size < worthKeeping || (other && other.size >= size)) {
      useless.push(path);
      continue;
    }
    if (other) useless.push(other.path);
    kept.set(digest, { path, size });
  }
  return { kept, useless };
}

/** Removes what cannot be resumed, and gives the rest. Nothing may be on its way in. */
export async function sweepLeftovers(folder: string, now: number): Promise<Map<Digest, Leftover>> {
  const { kept, useless } = await findLeftovers(folder, now);
  for (const path of useless) await rm(path, { recursive: true });
  return kept;
}
