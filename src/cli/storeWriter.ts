/** Has repositories hold the images whose blobs lie in the store already. */
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { listedAs, readManifest } from "../oci/manifest.ts";
import { formatRepository, type Repository, type Tag } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog } from "../store/catalog.ts";

export interface StoreWriterOptions {
  readonly catalog: Catalog;
  readonly blobs: Pick<Blobs, "read" | "remove">;
  /** What there is to hold: every blob, with its size in bytes. */
  readonly sizes: ReadonlyMap<Digest, number>;
  readonly now: () => number;
}

export class StoreWriter {
  readonly #options: StoreWriterOptions;
  /** Where each digest was held. */
  readonly #places = new Map<Digest, Repository>();

  constructor(options: StoreWriterOptions) {
    this.#options = options;
  }

  /** Holds an image for `repository`, and what `tag` means. @throws Error when a part of it is missing. */
  async hold(repository: Repository, root: Descriptor, tag: Tag | undefined): Promise<void> {
    const { catalog, now } = this.#options;
    await this.#manifest(repository, root);
    const { digest, mediaType, size } = root;
    if (tag) await catalog.resolve(repository, tag, { digest, mediaType, size }, now());
  }

  /** Holds those that refer to images which were held, and lists them as their referrers. The others are returned. */
  async holdReferrers(candidates: readonly Descriptor[]): Promise<readonly Descriptor[]> {
    let waiting = candidates.filter(({ digest }) => !this.#places.has(digest));
    for (;;) {
      const left = [];
      for (const candidate of waiting) if (!(await this.#referrer(candidate))) left.push(candidate);
      if (left.length === waiting.length) return left;
      waiting = left;
    }
  }

  /** Removes what belongs to no image. */
  async finish(): Promise<void> {
    const { catalog, blobs, sizes } = this.#options;
    for (const digest of sizes.keys()) {
      if (this.#places.has(digest) || (await catalog.blobAnywhere(digest)) !== undefined) continue;
      await blobs.remove(digest);
    }
  }

  async #manifest(repository: Repository, { digest, mediaType }: Descriptor): Promise<void> {
    const { catalog, blobs, sizes } = this.#options;
    const size = sizes.get(digest);
    const bytes = size === undefined ? undefined : await blobs.read(digest, size);
    if (size === undefined || !bytes) {
      throw new Error(`the archive lacks ${formatRepository(repository)}@${digest}`);
    }
    const { children, config, layers, subject } = readManifest(bytes, mediaType);
    const parts = [...(config ? [config] : []), ...layers];
    for (const part of parts) await this.#blob(repository, part);
    await catalog.holdManifest(
      repository,
      { digest, mediaType, size },
      [...children, ...parts].map((part) => part.digest),
      subject?.digest,
    );
    this.#places.set(digest, repository);
    // An index may list platforms that no one has pulled.
    for (const child of children) if (sizes.has(child.digest)) await this.#manifest(repository, child);
  }

  async #blob(repository: Repository, { digest }: Descriptor): Promise<void> {
    const { catalog, sizes } = this.#options;
    const size = sizes.get(digest);
    if (size === undefined) throw new Error(`the archive lacks ${formatRepository(repository)}@${digest}`);
    await catalog.holdBlob(repository, digest, size);
    this.#places.set(digest, repository);
  }

  async #referrer(candidate: Descriptor): Promise<boolean> {
    const { catalog, blobs, sizes, now } = this.#options;
    const { digest, mediaType } = candidate;
    const bytes = await blobs.read(digest, sizes.get(digest) ?? -1);
    if (!bytes) return false;
    const manifest = readManifest(bytes, mediaType);
    const subject = manifest.subject?.digest;
    const repository = subject && this.#places.get(subject);
    if (!repository) return false;
    await this.#manifest(repository, candidate);
    const known = await catalog.listing(repository, subject);
    const others = (known ? (JSON.parse(known.body) as Descriptor[]) : []).filter(
      (other) => other.digest !== digest,
    );
    const listed = listedAs({ mediaType, digest, size: bytes.length }, manifest);
    await catalog.keepListing(repository, subject, {
      body: JSON.stringify([...others, listed]),
      checkedAt: now(),
    });
    return true;
  }
}
