/** The check of a data root: every blob is what its name says and has its row, every row has its blob, nothing else lies about. */
import { opendir, rename, rm } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import { hexOf, parseDigest, type Digest } from "../../oci/digest.ts";
import type { Blobs } from "../blobs.ts";
import type { Catalog, Survey } from "../catalog.ts";
import type { Reconciler } from "./reconcile.ts";

/**
 * - `corrupt`: a blob is not what its name says, or cannot be read
 * - `size`: a row gives another size than the blob has
 * - `orphan`: a blob has no row
 * - `missing`: a row, of whatever kind, has no blob
 * - `leftover`: a blob was on its way in when the process ended
 * - `stray`: a file under blobs/ that is no blob
 * - `catalog`: the catalog's file itself is damaged
 * - `state`: the state's file is damaged or missing, or was restored and is not confirmed yet
 */
export type Problem = "corrupt" | "size" | "orphan" | "missing" | "leftover" | "stray" | "catalog" | "state";

export interface Finding {
  readonly problem: Problem;
  /** The digest, or the file's path under the root. */
  readonly what: string;
}

export interface Checked {
  readonly root: string;
  readonly blobs: Blobs;
  readonly catalog: Catalog;
  readonly survey: Survey;
  readonly reconciler: Reconciler;
  /** The paths of what was on its way in when a process ended, and is not worth keeping. */
  readonly useless: () => Promise<readonly string[]>;
  /** Does a Hubcap run there? Then running fills are no findings, and every finding is checked a second time. */
  readonly running: boolean;
}

const pageRows = 1000;

/** Finds everything that is wrong. */
export async function* check(checked: Checked): AsyncGenerator<Finding> {
  yield* files(checked);
  yield* rows(checked);
  if (!checked.running) yield* leftovers(checked);
}

/** Puts one finding right: what is wrong is taken out of service, and what is right but unknown becomes known. */
export async function repair(
  { root, catalog, reconciler }: Checked,
  { problem, what }: Finding,
): Promise<void> {
  const digest = parseDigest(what);
  switch (problem) {
    case "corrupt":
      return digest && reconciler.condemn(digest);
    case "size":
    case "orphan":
      return digest && void (await reconciler.adopt(digest));
    case "missing":
      return digest && catalog.forget(digest);
    case "leftover":
      return rm(join(root, what), { recursive: true });
    case "stray":
      return rename(join(root, what), join(root, "quarantine", basename(what)));
    case "catalog":
    case "state":
      // A whole file is replaced before anything else is looked at.
      return;
  }
}

async function* files({ root, blobs, catalog, reconciler, running }: Checked): AsyncGenerator<Finding> {
  const orphans: Digest[] = [];
  for await (const { digest, size } of blobs.list()) {
    const flaw = await reconciler.examine(digest, size);
    const row = await catalog.blobAnywhere(digest);
    if (flaw) yield { problem: "corrupt", what: digest };
    else if (row === undefined) orphans.push(digest);
    else if (row !== size) yield { problem: "size", what: digest };
  }
  for (const digest of orphans) {
    // The row of a blob follows a moment after its file.
    if (running && (await isSettled(blobs, catalog, digest))) continue;
    yield { problem: "orphan", what: digest };
  }
  yield* strays(root);
}

async function isSettled(blobs: Blobs, catalog: Catalog, digest: Digest): Promise<boolean> {
  const row = await catalog.blobAnywhere(digest);
  return (row === undefined) === ((await blobs.size(digest)) === undefined);
}

async function* strays(root: string): AsyncGenerator<Finding> {
  for (const algorithm of ["sha256", "sha512"]) {
    const folder = join(root, "blobs", algorithm);
    for await (const entry of await opendir(folder, { recursive: true })) {
      const path = join(entry.parentPath, entry.name);
      const digest = parseDigest(`${algorithm}:${entry.name}`);
      const place = digest && join(folder, hexOf(digest).slice(0, 2), hexOf(digest));
      if (!entry.isDirectory() && path !== place) yield { problem: "stray", what: relative(root, path) };
    }
  }
}

async function* rows({ blobs, catalog, survey, running }: Checked): AsyncGenerator<Finding> {
  for (let after = ""; ;) {
    const page = await survey.page(after, pageRows);
    const last = page.at(-1);
    if (!last) break;
    after = last.digest;
    for (const { digest } of page) {
      if ((await blobs.size(digest)) !== undefined) continue;
      if (running && (await isSettled(blobs, catalog, digest))) continue;
      yield { problem: "missing", what: digest };
    }
  }
  for (const digest of await survey.dangling()) yield { problem: "missing", what: digest };
}

async function* leftovers({ root, useless }: Checked): AsyncGenerator<Finding> {
  for (const path of await useless()) yield { problem: "leftover", what: relative(root, path) };
}
