/** A blob that is being written, under a name of its own until it is committed. */
import { dirname } from "node:path";
import { algorithmOf, finish, hashFor, type Digest } from "../../oci/digest.ts";
import { pooledPieces } from "../fill/content.ts";
import { IntegrityError } from "../error.ts";
import type { Ingest } from "../blobs.ts";
import type { Files, OpenFile } from "./files.ts";

/** Distinguishes files of the same digest. */
export interface IngestFile {
  readonly digest: Digest;
  readonly file: OpenFile;
  readonly kept: number;
  readonly from: string;
  readonly to: string;
}

/** {@link Ingest} into a file. */
export class DiskIngest implements Ingest {
  readonly kept: number;
  readonly #target: IngestFile;
  readonly #files: Files;
  readonly #hash;
  #written: number;
  #committed = false;

  constructor(target: IngestFile, files: Files) {
    this.#target = target;
    this.#files = files;
    this.kept = target.kept;
    this.#written = target.kept;
    this.#hash = hashFor(target.digest);
  }

  get descriptor(): number {
    return this.#target.file.fd;
  }

  async rehash(): Promise<void> {
    const kept = pooledPieces((buffer, length, at) => this.read(buffer, length, at), 0, this.kept);
    for await (const piece of kept) this.#hash.update(piece);
  }

  async write(chunk: Uint8Array): Promise<void> {
    const taken = this.#write(chunk);
    // While another thread is about the file. When it fails there, nothing of this ingest is used any more.
    this.#hash.update(chunk);
    await taken;
    this.#written += chunk.length;
  }

  async #write(chunk: Uint8Array): Promise<void> {
    // A nearly full disk takes a part and reports success; only the next write says ENOSPC.
    for (let done = 0; done < chunk.length;) {
      const { bytesWritten } = await this.#target.file.write(
        chunk,
        done,
        chunk.length - done,
        this.#written + done,
      );
      done += bytesWritten;
    }
  }

  async read(buffer: Uint8Array, length: number, position: number): Promise<number> {
    return (await this.#target.file.read(buffer, 0, length, position)).bytesRead;
  }

  verify(): void {
    const { digest } = this.#target;
    const found = finish(this.#hash, algorithmOf(digest));
    if (found !== digest) throw new IntegrityError(digest, found, this.#written);
  }

  async commit(): Promise<void> {
    const { file, from, to } = this.#target;
    // A failed fsync is never repeated: the kernel may have dropped the pages and would then report success.
    await file.sync();
    const folder = dirname(to);
    const created = await this.#files.makeFolder(folder);
    await this.#files.rename(from, to);
    this.#committed = true;
    await this.#files.syncFolder(folder);
    if (created) await this.#files.syncFolder(dirname(folder));
  }

  async close(): Promise<void> {
    await this.#target.file.close();
    if (!this.#committed) await this.#files.remove(this.#target.from);
  }
}
