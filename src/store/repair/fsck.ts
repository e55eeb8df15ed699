/** The check of a data root: every blob is what its name says and has its row, every row has its blob, nothing else lies about. */
import { parseDigest, type Digest } from "../../oci/digest.ts";
import type { Blobs, StrayFiles } from "../blobs.ts";
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
  readonly blobs: Blobs;
  readonly strayFiles: StrayFiles;
  readonly catalog: Catalog;
  readonly survey: Survey;
  readonly reconciler: Reconciler;
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
  { strayFiles, catalog, reconciler }: Checked,
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
      return strayFiles.remove(what);
    case "stray":
      return strayFiles.setAside(what);
    case "catalog":
    case "state":
      // A whole file is replaced before anything else is looked at.
      return;
  }
}

async function* files({ strayFiles, blobs, catalog, reconciler, running }: Checked): AsyncGenerator<Finding> {
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
  for await (const what of strayFiles.strays()) yield { problem: "stray", what };
}

async function isSettled(blobs: Blobs, catalog: Catalog, digest: Digest): Promise<boolean> {
  const row = await catalog.blobAnywhere(digest);
  return (row === undefined) === ((await blobs.size(digest)) === undefined);
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

async function* leftovers({ strayFiles }: Checked): AsyncGenerator<Finding> {
  for (const what of await strayFiles.leftovers()) yield { problem: "leftover", what };
}
