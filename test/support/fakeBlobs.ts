/** {@link Blobs} in memory, for tests that need no disk. It keeps the same contract. */
import { digestOf, algorithmOf, type Digest } from "../../src/oci/digest.ts";
import type { Blobs, Ingest } from "../../src/store/blobs.ts";
import type { Content } from "../../src/store/fill/content.ts";
import { IntegrityError } from "../../src/store/error.ts";

export class FakeBlobs implements Blobs {
  readonly #held = new Map<Digest, Buffer>();

  async open(digest: Digest, size: number): Promise<Content | undefined> {
    const bytes = await this.read(digest, size);
    if (!bytes) return undefined;
    return {
      size,
      async *pieces(span) {
        yield bytes.subarray(span?.start ?? 0, span?.end ?? size);
      },
      close: async () => {},
    };
  }

  async read(digest: Digest, size: number): Promise<Buffer | undefined> {
    const bytes = this.#held.get(digest);
    return bytes?.length === size ? bytes : undefined;
  }

  async ingest(digest: Digest): Promise<Ingest> {
    let written = Buffer.alloc(0);
    return {
      kept: 0,
      rehash: async () => {},
      write: async (chunk) => {
        written = Buffer.concat([written, chunk]);
      },
      read: async (buffer, length, position) => written.copy(buffer, 0, position, position + length),
      verify: () => {
        const found = digestOf(written, algorithmOf(digest));
        if (found !== digest) throw new IntegrityError(digest, found, written.length);
      },
      commit: async () => {
        this.#held.set(digest, written);
      },
      close: async () => {},
    };
  }

  async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    const ingest = await this.ingest(digest);
    await ingest.write(bytes);
    ingest.verify();
    await ingest.commit();
  }

  async size(digest: Digest): Promise<number | undefined> {
    return this.#held.get(digest)?.length;
  }

  kept(): number {
    return 0;
  }

  keptInAll(): number {
    return 0;
  }

  async remove(digest: Digest): Promise<boolean> {
    return this.#held.delete(digest);
  }

  async quarantine(digest: Digest): Promise<boolean> {
    return this.#held.delete(digest);
  }

  async *list(): AsyncIterable<{ digest: Digest; size: number }> {
    for (const [digest, { length }] of this.#held) yield { digest, size: length };
  }
}
