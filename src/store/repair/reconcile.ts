/** Keeps blobs and catalog in agreement: bytes without a row get one, and bytes that are not what their name says lose it. */
import { maxManifestBytes, ociIndex, ociManifest } from "../../oci/descriptor.ts";
import { algorithmOf, finish, hashFor, type Digest } from "../../oci/digest.ts";
import { ManifestError, namesIn, readManifest } from "../../oci/manifest.ts";
import { isUnreadable } from "../error.ts";
import type { Blobs } from "../blobs.ts";
import type { Catalog, ManifestNature } from "../catalog.ts";

/** What is wrong with a blob: its bytes, how many there are, or that the disk does not give them back. */
export type Flaw = "bytes" | "size" | "unreadable";

/** Called with the length of every chunk that is read; the next one is read when the promise has settled. */
export type Pace = (bytes: number) => Promise<void> | void;

export interface ReconcilerOptions {
  readonly blobs: Blobs;
  readonly catalog: Catalog;
  /** Is this error the disk's fault? Then a blob that could not be taken out of service stays where it is for now. */
  readonly isStoreTrouble?: (error: unknown) => boolean;
  /** Called with every blob that was taken out of service. */
  readonly condemned?: (digest: Digest, flaw: Flaw) => void;
}

export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #adopting = new Map<Digest, Promise<number | undefined>>();
  /** Settles when what was last asked for is over. */
  readonly #turns = new Map<Digest, Promise<void>>();

  constructor(options: ReconcilerOptions) {
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
    if (!content) {
      const found = await blobs.size(digest);
      if (found === size) return "unreadable";
      return found === undefined ? undefined : "size";
    }
    const hash = hashFor(digest);
    try {
      for await (const chunk of content.pieces()) {
        hash.update(chunk);
        await pace(chunk.length);
      }
    } catch (error) {
      if (isUnreadable(error)) return "unreadable";
      throw error;
    }
    return finish(hash, algorithmOf(digest)) === digest ? undefined : "bytes";
  }

  /** Gives bytes their name and their row while no one takes either of them away; what `work` gives. */
  keep<T>(digest: Digest, work: () => Promise<T>): Promise<T> {
    return this.#inTurn(digest, work);
  }

  /** Removes the bytes of a blob that the catalog has let go of; false when there are none, or when they have a row again. */
  remove(digest: Digest): Promise<boolean> {
    const { blobs, catalog } = this.#options;
    return this.#inTurn(
      digest,
      async () => (await catalog.blobAnywhere(digest)) === undefined && blobs.remove(digest),
    );
  }

  /** A row said that there is a blob of `size` bytes, but it could not be opened: what is there instead is taken out of service. */
  recheck(digest: Digest, size: number): Promise<void> {
    return this.#inTurn(digest, async () => {
      const found = await this.#options.blobs.size(digest);
      // It may have been fetched again meanwhile.
      if (found !== size) await this.#condemn(digest, "size");
    });
  }

  /** Takes a blob out of service that was found to be flawed, unless it has been fetched again meanwhile. */
  condemn(digest: Digest): Promise<void> {
    return this.#inTurn(digest, async () => {
      const { blobs, catalog } = this.#options;
      const size = (await catalog.blobAnywhere(digest)) ?? (await blobs.size(digest));
      const flaw = size === undefined ? undefined : await this.examine(digest, size);
      if (flaw) await this.#condemn(digest, flaw);
    });
  }

  /** The next pull fetches it again. The bytes go first: a row without them is only a miss. */
  async #condemn(digest: Digest, flaw: Flaw): Promise<void> {
    const { blobs, catalog, isStoreTrouble, condemned } = this.#options;
    try {
      if (await blobs.quarantine(digest)) condemned?.(digest, flaw);
    } catch (error) {
      if (!isStoreTrouble?.(error)) throw error;
      return;
    }
    await catalog.forget(digest);
  }

  #join(digest: Digest, pace: Pace): Promise<number | undefined> {
    return this.#adopting.getOrInsertComputed(digest, () =>
      this.#inTurn(digest, () => this.#adopt(digest, pace)).finally(() => this.#adopting.delete(digest)),
    );
  }

  /** Of all that changes one blob and its row, only one thing happens at a time. */
  #inTurn<T>(digest: Digest, work: () => Promise<T>): Promise<T> {
    const mine = (this.#turns.get(digest) ?? Promise.resolve()).then(work);
    const leave = (): void => {
      if (this.#turns.get(digest) === over) this.#turns.delete(digest);
    };
    const over: Promise<void> = mine.then(leave, leave);
    this.#turns.set(digest, over);
    return mine;
  }

  async #adopt(digest: Digest, pace: Pace): Promise<number | undefined> {
    const { blobs, catalog } = this.#options;
    const size = await blobs.size(digest);
    if (size === undefined) return undefined;
    const flaw = await this.examine(digest, size, pace);
    if (flaw) {
      await this.#condemn(digest, flaw);
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
