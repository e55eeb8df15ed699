/** What becomes of a store that does not answer: what it does not say is not known, and what it does not take is not remembered. */
import type { Digest } from "../oci/digest.ts";
import type { Repository, Tag } from "../oci/reference.ts";
import type { Blobs, Ingest } from "./blobs.ts";
import type { Content } from "./fill/content.ts";
import type {
  Catalog,
  HeldManifest,
  Listing,
  ManifestNature,
  Naming,
  TagRecord,
  PolicyName,
  Verdict,
  Verdicts,
} from "./catalog.ts";
import type { Health } from "./health.ts";
import type { Sightings, Visibilities, Visibility } from "./state.ts";

type Noted = Pick<Health, "note">;

/** What `asked` gives; undefined when the store does not answer, which its health notes. */
async function known<T>(health: Noted, asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (health.note(error) === undefined) throw error;
    return undefined;
  }
}

export class TolerantCatalog implements Catalog {
  readonly #inner: Catalog;
  readonly #health: Noted;

  constructor(inner: Catalog, health: Noted) {
    this.#inner = inner;
    this.#health = health;
  }

  blob(repository: Repository, digest: Digest): Promise<number | undefined> {
    return known(this.#health, this.#inner.blob(repository, digest));
  }

  blobAnywhere(digest: Digest): Promise<number | undefined> {
    return known(this.#health, this.#inner.blobAnywhere(digest));
  }

  manifest(repository: Repository, digest: Digest): Promise<HeldManifest | undefined> {
    return known(this.#health, this.#inner.manifest(repository, digest));
  }

  manifestAnywhere(digest: Digest): Promise<HeldManifest | undefined> {
    return known(this.#health, this.#inner.manifestAnywhere(digest));
  }

  tag(repository: Repository, tag: Tag): Promise<TagRecord | undefined> {
    return known(this.#health, this.#inner.tag(repository, tag));
  }

  async naming(repository: Repository, digest: Digest): Promise<Naming> {
    const naming = await known(this.#health, this.#inner.naming(repository, digest));
    return naming ?? { indexes: [], tagged: undefined };
  }

  listing(repository: Repository, subject: string): Promise<Listing | undefined> {
    return known(this.#health, this.#inner.listing(repository, subject));
  }

  listedAt(repository: Repository, subject: string): Promise<number | undefined> {
    return known(this.#health, this.#inner.listedAt(repository, subject));
  }

  holdBlob(repository: Repository, digest: Digest, size: number): Promise<void> {
    return known(this.#health, this.#inner.holdBlob(repository, digest, size));
  }

  holdManifest(
    repository: Repository,
    manifest: HeldManifest,
    names: readonly Digest[],
    subject?: Digest,
  ): Promise<void> {
    return known(this.#health, this.#inner.holdManifest(repository, manifest, names, subject));
  }

  link(repository: Repository, digest: Digest): Promise<void> {
    return known(this.#health, this.#inner.link(repository, digest));
  }

  resolve(
    repository: Repository,
    tag: Tag,
    descriptor: HeldManifest,
    checkedAt: number,
    alternate?: string,
  ): Promise<void> {
    return known(this.#health, this.#inner.resolve(repository, tag, descriptor, checkedAt, alternate));
  }

  forgetTag(repository: Repository, tag: Tag): Promise<void> {
    return known(this.#health, this.#inner.forgetTag(repository, tag));
  }

  forgetTagsOf(repository: Repository, digest: Digest): Promise<void> {
    return known(this.#health, this.#inner.forgetTagsOf(repository, digest));
  }

  keepListing(repository: Repository, subject: string, listing: Listing): Promise<void> {
    return known(this.#health, this.#inner.keepListing(repository, subject, listing));
  }

  adopt(digest: Digest, size: number, as?: ManifestNature): Promise<void> {
    return known(this.#health, this.#inner.adopt(digest, size, as));
  }

  forget(digest: Digest): Promise<void> {
    return known(this.#health, this.#inner.forget(digest));
  }
}

export class TolerantBlobs implements Blobs {
  readonly #inner: Blobs;
  readonly #health: Noted;

  constructor(inner: Blobs, health: Noted) {
    this.#inner = inner;
    this.#health = health;
  }

  open(digest: Digest, size: number): Promise<Content | undefined> {
    return known(this.#health, this.#inner.open(digest, size));
  }

  read(digest: Digest, size: number): Promise<Buffer | undefined> {
    return known(this.#health, this.#inner.read(digest, size));
  }

  size(digest: Digest): Promise<number | undefined> {
    return known(this.#health, this.#inner.size(digest));
  }

  kept(digest: Digest): number {
    return this.#inner.kept(digest);
  }

  keptInAll(): number {
    return this.#inner.keptInAll();
  }

  // What writes or removes says so where it fails: a fill passes its bytes through then.
  ingest(digest: Digest): Promise<Ingest> {
    return this.#inner.ingest(digest);
  }

  put(digest: Digest, bytes: Uint8Array): Promise<void> {
    return this.#inner.put(digest, bytes);
  }

  remove(digest: Digest): Promise<boolean> {
    return this.#inner.remove(digest);
  }

  quarantine(digest: Digest): Promise<boolean> {
    return this.#inner.quarantine(digest);
  }

  list(): ReturnType<Blobs["list"]> {
    return this.#inner.list();
  }
}

export class TolerantVisibilities implements Visibilities {
  readonly #inner: Visibilities;
  readonly #health: Noted;

  constructor(inner: Visibilities, health: Noted) {
    this.#inner = inner;
    this.#health = health;
  }

  of(repository: Repository): Promise<Visibility | undefined> {
    return known(this.#health, this.#inner.of(repository));
  }

  mark(repository: Repository, visibility: Visibility): Promise<void> {
    return known(this.#health, this.#inner.mark(repository, visibility));
  }
}

/** A verdict that is not known is found out anew, and what no manifest is known to name is not allowed by one. */
export class TolerantVerdicts implements Verdicts {
  readonly #inner: Verdicts;
  readonly #health: Noted;

  constructor(inner: Verdicts, health: Noted) {
    this.#inner = inner;
    this.#health = health;
  }

  of(repository: Repository, digest: Digest, policy: PolicyName): Promise<Verdict | undefined> {
    return known(this.#health, this.#inner.of(repository, digest, policy));
  }

  keep(repository: Repository, digest: Digest, policy: PolicyName, verdict: Verdict): Promise<void> {
    return known(this.#health, this.#inner.keep(repository, digest, policy, verdict));
  }

  async isNamedByAllowed(...asked: Parameters<Verdicts["isNamedByAllowed"]>): Promise<boolean> {
    return (await known(this.#health, this.#inner.isNamedByAllowed(...asked))) ?? false;
  }

  async namers(repository: Repository, digest: Digest): Promise<Digest[]> {
    return (await known(this.#health, this.#inner.namers(repository, digest))) ?? [];
  }

  async namersAnywhere(digest: Digest): Promise<Digest[]> {
    return (await known(this.#health, this.#inner.namersAnywhere(digest))) ?? [];
  }

  prune(policies: readonly PolicyName[]): Promise<void> {
    return known(this.#health, this.#inner.prune(policies));
  }
}

export class TolerantSightings implements Sightings {
  readonly #inner: Sightings;
  readonly #health: Noted;

  constructor(inner: Sightings, health: Noted) {
    this.#inner = inner;
    this.#health = health;
  }

  note(repository: Repository, digest: Digest, tag: Tag | undefined, at: number): Promise<void> {
    return known(this.#health, this.#inner.note(repository, digest, tag, at));
  }

  since(repository: Repository, digests: readonly Digest[]): Promise<number | undefined> {
    return known(this.#health, this.#inner.since(repository, digests));
  }

  async tags(repository: Repository, digests: readonly Digest[]): Promise<readonly Tag[]> {
    return (await known(this.#health, this.#inner.tags(repository, digests))) ?? [];
  }
}
