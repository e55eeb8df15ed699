/** Blobs on local disk, each under its digest. What is here is complete: it came in by one rename. */
import { mkdir, open, opendir, stat, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { algorithmOf, digestOf, hexOf, parseDigest, type Algorithm, type Digest } from "../../oci/digest.ts";
import { pooledPieces, type Content, type Sendfile } from "../fill/content.ts";
import { disk, type Files } from "./files.ts";
import { isUnreadable } from "../error.ts";
import { DiskIngest } from "./ingest.ts";
import type { Blobs, Ingest } from "../blobs.ts";
import { ingestName, sweepLeftovers, type Leftover } from "./leftovers.ts";

/** {@link Blobs} under `root`: `blobs/<algorithm>/<first two hex digits>/<hex>`, and `ingest/` for those on their way in. */
export class DiskBlobs implements Blobs {
  readonly #root: string;
  readonly #files: Files;
  readonly #leftovers: Map<Digest, Leftover>;

  private constructor(root: string, files: Files, leftovers: Map<Digest, Leftover>) {
    this.#root = root;
    this.#files = files;
    this.#leftovers = leftovers;
  }

  /** The blobs under `root`, which is created. The caller must have the lock: leftovers of a crash are removed. */
  static async at(root: string, files: Files = disk, now = Date.now()): Promise<DiskBlobs> {
    for (const folder of ["ingest", "quarantine", "blobs/sha256", "blobs/sha512"]) {
      await mkdir(join(root, folder), { recursive: true });
    }
    return new DiskBlobs(root, files, await sweepLeftovers(join(root, "ingest"), now));
  }

  /** The blobs under `root` to look at, beside a process that may be running there. */
  static beside(root: string): DiskBlobs {
    return new DiskBlobs(root, disk, new Map());
  }

  async open(digest: Digest, size: number): Promise<Content | undefined> {
    const file = await this.#openExact(digest, size);
    if (!file) return undefined;
    return {
      size,
      pieces: (span, _left, sendfile) => piecesOf(file, span?.start ?? 0, span?.end ?? size, sendfile),
      close: () => file.close(),
    };
  }

  async read(digest: Digest, size: number): Promise<Buffer | undefined> {
    await using file = await this.#openExact(digest, size);
    const bytes = await file?.readFile().catch(absent);
    return bytes && digestOf(bytes, algorithmOf(digest)) === digest ? bytes : undefined;
  }

  async size(digest: Digest): Promise<number | undefined> {
    try {
      return (await stat(this.#path(digest))).size;
    } catch (error) {
      return absent(error);
    }
  }

  kept(digest: Digest): number {
    return this.#leftovers.get(digest)?.size ?? 0;
  }

  keptInAll(): number {
    return this.#leftovers.values().reduce((sum, { size }) => sum + size, 0);
  }

  async ingest(digest: Digest): Promise<Ingest> {
    const to = this.#path(digest);
    const leftover = this.#leftovers.get(digest);
    if (leftover) {
      this.#leftovers.delete(digest);
      const file = await this.#files.reopen(leftover.path);
      return new DiskIngest({ digest, file, kept: leftover.size, from: leftover.path, to }, this.#files);
    }
    const from = join(this.#root, "ingest", ingestName(digest));
    const file = await this.#files.create(from);
    return new DiskIngest({ digest, file, kept: 0, from, to }, this.#files);
  }

  async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    const ingest = await this.ingest(digest);
    try {
      await ingest.write(bytes);
      ingest.verify();
      await ingest.commit();
    } finally {
      await ingest.close();
    }
  }

  async remove(digest: Digest): Promise<boolean> {
    return done(this.#files.remove(this.#path(digest)));
  }

  async quarantine(digest: Digest): Promise<boolean> {
    const name = `${algorithmOf(digest)}-${hexOf(digest)}`;
    return done(this.#files.rename(this.#path(digest), join(this.#root, "quarantine", name)));
  }

  async *list(): AsyncIterable<{ digest: Digest; size: number }> {
    for (const algorithm of ["sha256", "sha512"] satisfies Algorithm[]) {
      for await (const entry of await opendir(join(this.#root, "blobs", algorithm), { recursive: true })) {
        const digest = parseDigest(`${algorithm}:${entry.name}`);
        const size = digest && (await this.size(digest));
        if (digest && size !== undefined) yield { digest, size };
      }
    }
  }

  async #openExact(digest: Digest, size: number): Promise<FileHandle | undefined> {
    try {
      const file = await open(this.#path(digest));
      // An empty or short file under a good name would be served as a short 200, which containerd retries for ever.
      if ((await file.stat()).size === size) return file;
      await file.close();
      return undefined;
    } catch (error) {
      return absent(error);
    }
  }

  #path(digest: Digest): string {
    const hex = hexOf(digest);
    return join(this.#root, "blobs", algorithmOf(digest), hex.slice(0, 2), hex);
  }
}

async function* piecesOf(
  file: FileHandle,
  start: number,
  end: number,
  sendfile: Sendfile | undefined,
): AsyncGenerator<Buffer> {
  try {
    yield* pooledPieces(
      async (buffer, length, at) => (await file.read(buffer, 0, length, at)).bytesRead,
      start,
      end,
      sendfile && ((at) => sendfile(file.fd, at, end)),
    );
  } finally {
    await file.close();
  }
}

/** Undefined for what is not there, or cannot be read where it is. */
function absent(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== "ENOENT" && !isUnreadable(error)) throw error;
}

/** False when there was nothing to do it to. */
async function done(change: Promise<void>): Promise<boolean> {
  try {
    await change;
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}
