/** {@link StrayFiles} on local disk. */
import { opendir, rename, rm } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import { hexOf, parseDigest } from "../../oci/digest.ts";
import type { StrayFiles } from "../blobs.ts";
import { findLeftovers } from "./leftovers.ts";

export class DiskStrayFiles implements StrayFiles {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  async leftovers(): Promise<readonly string[]> {
    const { useless } = await findLeftovers(join(this.#root, "ingest"), Date.now());
    return useless.map((path) => relative(this.#root, path));
  }

  async *strays(): AsyncGenerator<string> {
    for (const algorithm of ["sha256", "sha512"]) {
      const folder = join(this.#root, "blobs", algorithm);
      for await (const entry of await opendir(folder, { recursive: true })) {
        const path = join(entry.parentPath, entry.name);
        const digest = parseDigest(`${algorithm}:${entry.name}`);
        const place = digest && join(folder, hexOf(digest).slice(0, 2), hexOf(digest));
        if (!entry.isDirectory() && path !== place) yield relative(this.#root, path);
      }
    }
  }

  async remove(path: string): Promise<void> {
    await rm(join(this.#root, path), { recursive: true });
  }

  async setAside(path: string): Promise<void> {
    await rename(join(this.#root, path), join(this.#root, "quarantine", basename(path)));
  }
}
