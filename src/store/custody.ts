/** Keeps blobs and catalog in agreement: bytes without a row get one, and bytes that are not what their name says lose it. */
import { maxManifestBytes, ociIndex, ociManifest } from "../oci/descriptor.ts";
import { algorithmOf, finish, hashFor, type Digest } from "../oci/digest.ts";
import { ManifestError, namesIn, readManifest } from "../oci/manifest.ts";
import type { Blobs } from "./blobs.ts";
import type { Catalog, ManifestNature } from "./catalog.ts";

/** What is wrong with a blob: its bytes, how many there are, or that the disk does not give them back. */
export type Flaw = "bytes" | "size" | "unreadable";

/** Told the length of every chunk that is read; the next one is read when what it gives has settled. */
export type Pace = (bytes: number) => Promise<void> | void;

export interface CustodyOptions {
  readonly blobs: Blobs;
  readonly catalog: Catalog;
  /** Is this blob on its way in? Then it is about to have bytes and a row. */
  readonly isComing?: (digest: Digest) => boolean;
  /** Told of every blob that was taken out of service. */
  readonly condemned?: (digest: Digest, flaw: Flaw) => void;
}

export class Custody {
  readonly #options: CustodyOptions;
  /** Adoptions and removals that are under way; of one digest there is one at a time. */
  readonly #busy = new Map<Digest, Promise<number | undefined>>();

  constructor(options: CustodyOptions) {
    this.#options = options;
  }

  /**
   * Gives bytes that lie under blobs/ a row, if they are what their name says: a crash or a lost catalog has left them
   * without. The size, or undefined when there are no such bytes.
   */
  adopt(digest: Digest): Promise<number | undefined> {
    return this.#join(digest, () => undefined);
  }

  /** Gives every blob without a row one. */
  async adoptAll(signal: AbortSignal): Promise<number> {
    let adopted = 0;
    for await (const { digest } of this.#options.blobs.list()) {
      if (signal.aborted) break;
      if ((await this.#options.catalog.blobAnywhere(digest)) !== undefined) continue;
      const size = await this.#join(digest, () => signal.throwIfAborted());
      if (size !== undefined) adopted++;
    }
    return adopted;
  }

  /** Is the blob whole and what its name says? Undefined when it is, or is gone. `pace` may slow it down, or stop it by throwing. */
  async examine(digest: Digest, size: number, pace: Pace = () => undefined): Promise<Flaw | undefined> {
    const { blobs } = this.#options;
    const content = await blobs.open(digest, size);
    if (!content) return (await blobs.size(digest)) === undefined ? undefined : "size";
    const hash = hashFor(digest);
    try {
      for await (const chunk of content.stream() as AsyncIterable<Buffer>) {
        hash.update(chunk);
        await pace(chunk.length);
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EIO") return "unreadable";
      throw error;
    }
    return finish(hash, algorithmOf(digest)) === digest ? undefined : "bytes";
  }

  /**
   * Removes the bytes of a blob that the catalog has let go of; false when there are none, or when somebody wants them
   * again: who finds them on disk meanwhile must not give a row to what is gone a moment later.
   */
  async remove(digest: Digest): Promise<boolean> {
    while (this.#busy.has(digest)) await this.#busy.get(digest)?.catch(() => {});
    const removal = this.#remove(digest).finally(() => this.#busy.delete(digest));
    this.#busy.set(
      digest,
      removal.then(
        () => undefined,
        () => undefined,
      ),
    );
    return removal;
  }

  /** A row said that there is a blob of `size` bytes, but it could not be opened: what is there instead is taken out of service. */
  async recheck(digest: Digest, size: number): Promise<void> {
    const found = await this.#options.blobs.size(digest);
    // It may have been fetched again meanwhile.
    if (found !== size) await this.condemn(digest, "size");
  }

  /** Takes a blob out of service; the next pull fetches it again. The bytes go first: a row without them is only a miss. */
  async condemn(digest: Digest, flaw: Flaw): Promise<void> {
    const { blobs, catalog, condemned } = this.#options;
    if (await blobs.quarantine(digest)) condemned?.(digest, flaw);
    await catalog.forget(digest);
  }

  async #remove(digest: Digest): Promise<boolean> {
    const { blobs, catalog, isComing } = this.#options;
    if (isComing?.(digest) || (await catalog.blobAnywhere(digest)) !== undefined) return false;
    return blobs.remove(digest);
  }

  #join(digest: Digest, pace: Pace): Promise<number | undefined> {
    return this.#busy.getOrInsertComputed(digest, () =>
      this.#adopt(digest, pace).finally(() => this.#busy.delete(digest)),
    );
  }

  async #adopt(digest: Digest, pace: Pace): Promise<number | undefined> {
    const { blobs, catalog } = this.#options;
    const size = await blobs.size(digest);
    if (size === undefined) return undefined;
    const flaw = await this.examine(digest, size, pace);
    if (flaw) {
      await this.condemn(digest, flaw);
      return undefined;
    }
    const bytes = size <= maxManifestBytes ? await blobs.read(digest, size) : undefined;
    await catalog.adopt(digest, size, bytes && manifestNature(bytes));
    return size;
  }
}

/** What the bytes are, if they are a manifest. They came without a Content-Type, so they have to say it themselves. */
function manifestNature(bytes: Buffer): ManifestNature | undefined {
  if (bytes[0] !== 0x7b) return undefined;
  try {
    const { mediaType, manifests } = JSON.parse(bytes.toString()) as {
      mediaType?: unknown;
      manifests?: unknown;
    };
    // In OCI's own manifests the field may be left out (image-spec manifest.md).
    const said = typeof mediaType === "string" ? mediaType : manifests ? ociIndex : ociManifest;
    const manifest = readManifest(bytes, said);
    const { subject } = manifest;
    return { mediaType: said, names: namesIn(manifest), ...(subject && { subject: subject.digest }) };
  } catch (error) {
    if (error instanceof ManifestError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
