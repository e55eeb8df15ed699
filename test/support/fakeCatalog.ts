/** {@link Catalog} in memory, for tests that need no database. It keeps the same contract. */
import { dockerList, ociIndex } from "../../src/oci/descriptor.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { formatRepository, type Repository, type Tag } from "../../src/oci/reference.ts";
import type {
  Catalog,
  HeldManifest,
  Listing,
  ManifestNature,
  Naming,
  TagRecord,
} from "../../src/store/catalog.ts";

type StoredTag = Omit<TagRecord, "held"> & { readonly lastHeld: Digest | undefined };

export class FakeCatalog implements Catalog {
  readonly #sizes = new Map<Digest, number>();
  readonly #manifests = new Map<Digest, HeldManifest>();
  readonly #names = new Map<Digest, readonly Digest[]>();
  readonly #held = new Map<Digest, Set<string>>();
  readonly #tags = new Map<string, StoredTag>();
  readonly #listings = new Map<string, Listing>();

  async blob(repository: Repository, digest: Digest): Promise<number | undefined> {
    return this.#isHeld(repository, digest) ? this.#sizes.get(digest) : undefined;
  }

  async blobAnywhere(digest: Digest): Promise<number | undefined> {
    return this.#sizes.get(digest);
  }

  async manifest(repository: Repository, digest: Digest): Promise<HeldManifest | undefined> {
    return this.#isHeld(repository, digest) ? this.#manifests.get(digest) : undefined;
  }

  async manifestAnywhere(digest: Digest): Promise<HeldManifest | undefined> {
    return this.#manifests.get(digest);
  }

  async tag(repository: Repository, tag: Tag): Promise<TagRecord | undefined> {
    const stored = this.#tags.get(`${formatRepository(repository)}:${tag}`);
    if (!stored) return undefined;
    const { lastHeld, ...record } = stored;
    return { ...record, held: lastHeld && this.#manifests.get(lastHeld) };
  }

  async listedAt(repository: Repository, subject: string): Promise<number | undefined> {
    return (await this.listing(repository, subject))?.checkedAt;
  }

  async naming(repository: Repository, digest: Digest): Promise<Naming> {
    const indexes = [...this.#names]
      .filter(
        ([manifest, names]) =>
          names.includes(digest) && this.#isHeld(repository, manifest) && this.#isIndex(manifest),
      )
      .map(([manifest]) => manifest);
    const prefix = `${formatRepository(repository)}:`;
    const found = this.#tags
      .entries()
      .find(([name, { descriptor }]) => name.startsWith(prefix) && descriptor.digest === digest);
    return { indexes, tagged: found?.[1].descriptor.mediaType };
  }

  async listing(repository: Repository, subject: string): Promise<Listing | undefined> {
    return this.#listings.get(`${formatRepository(repository)} ${subject}`);
  }

  async holdBlob(repository: Repository, digest: Digest, size: number): Promise<void> {
    this.#sizes.set(digest, size);
    await this.link(repository, digest);
  }

  async holdManifest(
    repository: Repository,
    manifest: HeldManifest,
    names: readonly Digest[],
  ): Promise<void> {
    this.#manifests.set(manifest.digest, manifest);
    this.#names.set(manifest.digest, names);
    await this.holdBlob(repository, manifest.digest, manifest.size);
  }

  async link(repository: Repository, digest: Digest): Promise<void> {
    const place = formatRepository(repository);
    this.#held.getOrInsertComputed(digest, () => new Set()).add(place);
    for (const name of this.#tags.keys()) if (name.startsWith(`${place}:`)) this.#settle(repository, name);
  }

  async resolve(
    repository: Repository,
    tag: Tag,
    descriptor: HeldManifest,
    checkedAt: number,
    alternate?: string,
  ): Promise<void> {
    const name = `${formatRepository(repository)}:${tag}`;
    const lastHeld = this.#tags.get(name)?.lastHeld;
    this.#tags.set(name, { descriptor, checkedAt, alternate, lastHeld });
    this.#settle(repository, name);
  }

  async forgetTag(repository: Repository, tag: Tag): Promise<void> {
    this.#tags.delete(`${formatRepository(repository)}:${tag}`);
  }

  async forgetTagsOf(repository: Repository, digest: Digest): Promise<void> {
    for (const [name, { descriptor }] of this.#tags) {
      if (name.startsWith(`${formatRepository(repository)}:`) && descriptor.digest === digest)
        this.#tags.delete(name);
    }
  }

  async keepListing(repository: Repository, subject: string, listing: Listing): Promise<void> {
    this.#listings.set(`${formatRepository(repository)} ${subject}`, listing);
  }

  async adopt(digest: Digest, size: number, as?: ManifestNature): Promise<void> {
    this.#sizes.set(digest, size);
    if (!as) return;
    this.#manifests.set(digest, { digest, mediaType: as.mediaType, size });
    this.#names.set(digest, as.names);
  }

  async forget(digest: Digest): Promise<void> {
    this.#manifests.delete(digest);
    this.#held.delete(digest);
    this.#sizes.delete(digest);
  }

  /** What the tag means now becomes what is held for it, if it can be served: with one platform, or for want of anything else. */
  #settle(repository: Repository, name: string): void {
    const stored = this.#tags.get(name);
    if (!stored) return;
    const { digest } = stored.descriptor;
    const held = this.#isHeld(repository, digest) ? this.#manifests.get(digest) : undefined;
    if (!held) return;
    const isIndex = this.#isIndex(digest);
    const children = this.#names.get(digest) ?? [];
    const isWhole = !isIndex || children.some((child) => this.#isHeld(repository, child));
    const hasOther = stored.lastHeld !== undefined && this.#manifests.has(stored.lastHeld);
    if (isWhole || !hasOther) this.#tags.set(name, { ...stored, lastHeld: digest });
  }

  #isIndex(digest: Digest): boolean {
    const type = this.#manifests.get(digest)?.mediaType;
    return type === ociIndex || type === dockerList;
  }

  #isHeld(repository: Repository, digest: Digest): boolean {
    return this.#held.get(digest)?.has(formatRepository(repository)) ?? false;
  }
}
