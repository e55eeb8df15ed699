/** Blobs on local disk, each under its digest. What is here is complete: it came in by one rename. */
import { constants } from "node:fs";
import { mkdir, open, opendir, rename, rm, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  finish,
  hashFor,
  hexOf,
  algorithmOf,
  parseDigest,
  type Algorithm,
  type Digest,
} from "../oci/digest.ts";
import { readSize, type Content } from "./content.ts";
import { IntegrityError } from "./error.ts";

/** A blob that is being written under a name of its own until it is committed. */
export interface Ingest {
  /** Appends `chunk`, all of it. */
  write(chunk: Uint8Array): Promise<void>;
  /** Reads what was written, from `position` on, into `buffer`; the number of bytes read. */
  read(buffer: Uint8Array, position: number): Promise<number>;
  /** Checks that the bytes are those of the digest. @throws IntegrityError */
  verify(): void;
  /** Makes the bytes a blob that survives a crash. Reading goes on until {@link close}. */
  commit(): Promise<void>;
  /** Closes the file, and removes it unless it was committed. */
  close(): Promise<void>;
}

/** Content by digest. It says nothing about who may have it: that is the catalog's to know. */
export interface Blobs {
  /** The blob, or undefined when it is absent or is not `size` bytes long. */
  open(digest: Digest, size: number): Promise<Content | undefined>;
  /** All bytes of a small blob, under the conditions of {@link open}. */
  read(digest: Digest, size: number): Promise<Buffer | undefined>;
  /** Starts a blob that will be committed later. */
  ingest(digest: Digest): Promise<Ingest>;
  /** Stores a small blob whole. @throws IntegrityError */
  put(digest: Digest, bytes: Uint8Array): Promise<void>;
  /** Removes a blob; those who read it finish. False when there was none. */
  remove(digest: Digest): Promise<boolean>;
  /** Every blob, in no order. */
  list(): AsyncIterable<{ readonly digest: Digest; readonly size: number }>;
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === "ENOENT";

/** {@link Blobs} under `root`: `blobs/<algorithm>/<first two hex digits>/<hex>`, and `ingest/` for those on their way in. */
export class DiskBlobs implements Blobs {
  readonly #root: string;
  #ingests = 0;

  private constructor(root: string) {
    this.#root = root;
  }

  /** The blobs under `root`, which is created. What a crash left behind in `ingest/` is dropped. */
  static async at(root: string): Promise<DiskBlobs> {
    await rm(join(root, "ingest"), { recursive: true, force: true });
    await mkdir(join(root, "ingest"), { recursive: true });
    for (const algorithm of ["sha256", "sha512"]) {
      await mkdir(join(root, "blobs", algorithm), { recursive: true });
    }
    return new DiskBlobs(root);
  }

  /** The blobs under `root` to look at, beside a process that may be running there. */
  static beside(root: string): DiskBlobs {
    return new DiskBlobs(root);
  }

  async open(digest: Digest, size: number): Promise<Content | undefined> {
    const file = await this.#openExact(digest, size);
    if (!file) return undefined;
    return {
      size,
      stream: (span) =>
        file.createReadStream({
          start: span?.start ?? 0,
          // Without a span to the end of the file: the last byte of an empty one has no number.
          end: (span?.end ?? Infinity) - 1,
          highWaterMark: readSize,
        }),
      close: () => file.close(),
    };
  }

  async read(digest: Digest, size: number): Promise<Buffer | undefined> {
    await using file = await this.#openExact(digest, size);
    return await file?.readFile();
  }

  async ingest(digest: Digest): Promise<Ingest> {
    const path = join(this.#root, "ingest", `${process.pid}-${++this.#ingests}-${hexOf(digest)}`);
    const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o644);
    return new DiskIngest(digest, file, path, this.#path(digest));
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
    try {
      await rm(this.#path(digest));
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  async *list(): AsyncIterable<{ digest: Digest; size: number }> {
    for (const algorithm of ["sha256", "sha512"] satisfies Algorithm[]) {
      for await (const entry of await opendir(join(this.#root, "blobs", algorithm), { recursive: true })) {
        const digest = parseDigest(`${algorithm}:${entry.name}`);
        if (!digest) continue;
        await using file = await open(this.#path(digest)).catch(() => undefined);
        if (file) yield { digest, size: (await file.stat()).size };
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
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  #path(digest: Digest): string {
    const hex = hexOf(digest);
    return join(this.#root, "blobs", algorithmOf(digest), hex.slice(0, 2), hex);
  }
}

class DiskIngest implements Ingest {
  readonly #digest: Digest;
  readonly #file: FileHandle;
  readonly #from: string;
  readonly #to: string;
  readonly #hash;
  #written = 0;
  #committed = false;

  constructor(digest: Digest, file: FileHandle, from: string, to: string) {
    this.#digest = digest;
    this.#file = file;
    this.#from = from;
    this.#to = to;
    this.#hash = hashFor(digest);
  }

  async write(chunk: Uint8Array): Promise<void> {
    // A nearly full disk takes a part and reports success; only the next write says ENOSPC.
    for (let done = 0; done < chunk.length;) {
      const { bytesWritten } = await this.#file.write(chunk, done, chunk.length - done, this.#written + done);
      done += bytesWritten;
    }
    this.#hash.update(chunk);
    this.#written += chunk.length;
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    return (await this.#file.read(buffer, 0, buffer.length, position)).bytesRead;
  }

  verify(): void {
    const found = finish(this.#hash, algorithmOf(this.#digest));
    if (found !== this.#digest) throw new IntegrityError(this.#digest, found, this.#written);
  }

  async commit(): Promise<void> {
    // A failed fsync is never repeated: the kernel may have dropped the pages and would then report success.
    await this.#file.sync();
    const folder = dirname(this.#to);
    const created = await mkdir(folder, { recursive: true });
    await rename(this.#from, this.#to);
    this.#committed = true;
    await syncFolder(folder);
    if (created) await syncFolder(dirname(folder));
  }

  async close(): Promise<void> {
    await this.#file.close();
    if (!this.#committed) await rm(this.#from, { force: true });
  }
}

async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path);
  await folder.sync();
}
