/** An ingest without a file: for a blob that passes through to one reader, when it cannot be stored. */
import { algorithmOf, finish, hashFor, type Digest } from "../../oci/digest.ts";
import { IntegrityError } from "../error.ts";
import { heldBack } from "./fill.ts";
import type { Ingest } from "../blobs.ts";

/** How far the upstream may be ahead of the reader, in bytes. More than what is held back, or they would wait for each other. */
const ahead = 16 * heldBack;

export class Pipe implements Ingest {
  readonly kept = 0;
  readonly isReadOnce = true;
  readonly #digest: Digest;
  readonly #hash;
  #chunks: { readonly start: number; readonly bytes: Uint8Array }[] = [];
  #written = 0;
  #taken = 0;
  #moved = Promise.withResolvers<void>();
  #abandoned = false;

  constructor(digest: Digest) {
    this.#digest = digest;
    this.#hash = hashFor(digest);
  }

  async recall(): Promise<void> {}

  async write(chunk: Uint8Array): Promise<void> {
    while (this.#written - this.#taken > ahead && !this.#abandoned) await this.#moved.promise;
    if (this.#abandoned) throw new Error("the reader has left");
    this.#hash.update(chunk);
    // A copy, since the memory is not ours to keep.
    this.#chunks.push({ start: this.#written, bytes: Buffer.from(chunk) });
    this.#written += chunk.length;
  }

  /** Takes bytes out: they can be read once, from the first to the last. */
  async read(buffer: Uint8Array, length: number, position: number): Promise<number> {
    let done = 0;
    for (const { start, bytes } of this.#chunks) {
      const part = bytes.subarray(position + done - start, position + length - start);
      buffer.set(part, done);
      done += part.length;
      if (done === length) break;
    }
    this.#taken = position + done;
    this.#chunks = this.#chunks.filter(({ start, bytes }) => start + bytes.length > this.#taken);
    this.#wake();
    return done;
  }

  verify(): void {
    const found = finish(this.#hash, algorithmOf(this.#digest));
    if (found !== this.#digest) throw new IntegrityError(this.#digest, found, this.#written);
  }

  async commit(): Promise<void> {}

  async close(): Promise<void> {}

  /** The reader has stopped: the writer is notified with the next chunk. */
  abandon(): void {
    this.#abandoned = true;
    this.#chunks = [];
    this.#wake();
  }

  #wake(): void {
    const moved = this.#moved;
    this.#moved = Promise.withResolvers();
    moved.resolve();
  }
}
