/**
 * What is held, for which repository, and what tags and lists meant: all that can be rebuilt from the blobs and the upstreams.
 * The bytes prove themselves, so a catalog that is lost costs requests and nothing else. Absence is undefined throughout.
 */
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import type { Repository, Tag } from "../oci/reference.ts";

/** A manifest that is held: what its bytes are, and how many. */
export type HeldManifest = Pick<Descriptor, "digest" | "mediaType" | "size">;

/** What makes a blob a manifest: how its bytes are to be read, and what they name. */
export interface ManifestNature {
  readonly mediaType: string;
  readonly names: readonly Digest[];
  /** Of a referrer: what it is about. */
  readonly subject?: Digest;
}

/** What a tag meant at `checkedAt` (ms since the epoch). */
/** By what an upstream has named a manifest. */
export interface Naming {
  /** The held indexes that name it, at most 16. */
  readonly indexes: readonly Digest[];
  /** What it is, where a tag means it. */
  readonly tagged: string | undefined;
}

export interface TagRecord {
  readonly descriptor: HeldManifest;
  readonly checkedAt: number;
  /** The alternate that said so, when the upstream itself could not be asked. */
  readonly alternate: string | undefined;
  /**
   * The manifest of this tag that could be served last: `descriptor` itself, or what it replaced. An index counts once a
   * manifest it names is held too; before that it is taken only for want of anything else.
   */
  readonly held: HeldManifest | undefined;
}

/** A list as the upstream gave it at `checkedAt` (ms since the epoch). */
export interface Listing {
  readonly body: string;
  readonly checkedAt: number;
}

/** Absence is undefined throughout. */
export interface Catalog {
  /** The size of a blob that this repository holds. */
  blob(repository: Repository, digest: Digest): Promise<number | undefined>;
  /** The size of a blob that any repository holds. */
  blobAnywhere(digest: Digest): Promise<number | undefined>;
  manifest(repository: Repository, digest: Digest): Promise<HeldManifest | undefined>;
  /** A manifest that any repository holds. */
  manifestAnywhere(digest: Digest): Promise<HeldManifest | undefined>;
  tag(repository: Repository, tag: Tag): Promise<TagRecord | undefined>;
  /** How the repository's upstream has named `digest` as a manifest. */
  naming(repository: Repository, digest: Digest): Promise<Naming>;
  listing(repository: Repository, subject: string): Promise<Listing | undefined>;
  /** Its `checkedAt` alone, for those who have read it before: it may be megabytes. */
  listedAt(repository: Repository, subject: string): Promise<number | undefined>;

  /** The bytes lie under blobs/, and the upstream answered for them in this repository. */
  holdBlob(repository: Repository, digest: Digest, size: number): Promise<void>;
  /** The same for a manifest, with what it names and, of a referrer, what it is about. */
  holdManifest(
    repository: Repository,
    manifest: HeldManifest,
    names: readonly Digest[],
    subject?: Digest,
  ): Promise<void>;
  /** The upstream answered for content that is held already. */
  link(repository: Repository, digest: Digest): Promise<void>;
  /** The upstream, or in its place an `alternate`, said at `checkedAt` that `tag` means this manifest. */
  resolve(
    repository: Repository,
    tag: Tag,
    descriptor: HeldManifest,
    checkedAt: number,
    alternate?: string,
  ): Promise<void>;
  /** The upstream said that there is no such tag. */
  forgetTag(repository: Repository, tag: Tag): Promise<void>;
  /** The upstream said that there is no such manifest, so no tag can mean it. */
  forgetTagsOf(repository: Repository, digest: Digest): Promise<void>;
  keepListing(repository: Repository, subject: string, listing: Listing): Promise<void>;
  /** Bytes that lie under blobs/ have a row again, a manifest `as` what it is. By that alone no repository may have them. */
  adopt(digest: Digest, size: number, as?: ManifestNature): Promise<void>;
  /** The bytes are gone: no one holds this digest any more. */
  forget(digest: Digest): Promise<void>;
}

/** How much is held. */
export interface Totals {
  readonly bytes: number;
  /** Manifests are blobs too. */
  readonly blobs: number;
  readonly manifests: number;
}

/** A manifest that a repository holds. Times are ms since the epoch. */
export interface HeldImage extends HeldManifest {
  readonly repository: Repository;
  readonly heldAt: number;
  readonly usedAt: number;
  /** How often it was asked for while it was held. */
  readonly uses: number;
}

/** That an image was asked for. */
export interface Use {
  readonly repository: Repository;
  readonly digest: Digest;
  readonly at: number;
  readonly count: number;
}

/** A blob as its row says it is. */
export interface BlobRow {
  readonly digest: Digest;
  readonly size: number;
}

/** A blob that is held though no held manifest names it, and since when (ms since the epoch; 0: since what named it was dropped). */
export interface Orphan extends BlobRow {
  readonly since: number;
}

/** No call holds up a request: each does a small, bounded piece of work, or several with turns of the event loop between them. */
export interface Inventory {
  totals(): Promise<Totals>;
  /** Bytes that count in the capacity: all that is held, and the catalog's own, in whole MiB, which go with what they are about. */
  occupied(): Promise<number>;
  /** Bytes of all orphans; infinitely many when there are more than some thousand of them. */
  orphanBytes(): Promise<number>;
  /** When the image that was unused for longest was asked for last. */
  oldestUse(): Promise<number | undefined>;
  /** When this image was asked for last; undefined when the repository does not hold it. */
  lastUse(repository: Repository, digest: Digest): Promise<number | undefined>;
  /**
   * Notes some of these uses, the first ones, in one transaction; how many, at least one. Images that are not held any more
   * are passed over. No image becomes older by it but one that was used after `now`, while the clock was ahead.
   */
  use(uses: readonly Use[], now: number): Promise<number>;
  /** Images by last use, oldest first, after `after`; at most `limit`, and none only at the end. */
  byUse(after: HeldImage | undefined, limit: number): Promise<HeldImage[]>;
  /** The same by upstream, repository and digest. */
  byName(after: Pick<HeldImage, "repository" | "digest"> | undefined, limit: number): Promise<HeldImage[]>;
  tagsOf(repository: Repository, digest: Digest): Promise<Tag[]>;
  /** What this image is a part of in its repository, an index that names it or its subject, but for `except`. Some, if many. */
  parents(repository: Repository, digest: Digest, except?: ReadonlySet<Digest>): Promise<Digest[]>;
  /** The image's children and referrers that this repository holds. */
  parts(repository: Repository, digest: Digest): Promise<HeldImage[]>;
  /** The repositories that hold this manifest. */
  holders(digest: Digest): Promise<Repository[]>;
  /** The blobs that are held and that a manifest is or names. */
  contents(manifest: Digest): Promise<BlobRow[]>;
  /** Is every manifest that this blob is, or that names it, among `manifests`? */
  neededOnlyBy(digest: Digest, manifests: ReadonlySet<Digest>): Promise<boolean>;
  /**
   * Takes one step towards this repository not holding the image any more; true when that is done. What no manifest names
   * then is an orphan since 0.
   */
  drop(repository: Repository, digest: Digest): Promise<boolean>;
  /** Orphans since `before` or earlier, or since later than `ahead`, in the order of `since` and digest; at most `limit`, after `after`. */
  orphans(before: number, ahead: number, after: Orphan | undefined, limit: number): Promise<Orphan[]>;
  /**
   * Forgets those of these blobs that are orphans, as many as one step allows; their bytes are the caller's to remove.
   * `rest` has not been looked at yet.
   */
  discard(digests: readonly Digest[]): Promise<{ discarded: readonly BlobRow[]; rest: readonly Digest[] }>;
}

/** Where the scrub stands: the last blob it has seen, and when (ms since the epoch) it saw the first of this round. */
export interface ScrubMark {
  readonly reached: string;
  readonly beganAt: number;
}

/** Absence is undefined throughout. */
export interface Survey {
  /** The next blobs by digest after `after`, at most `count`; the empty text is before all. */
  page(after: string, count: number): Promise<readonly BlobRow[]>;
  /** Digests that are held, or known as manifests, though there is no blob of theirs. */
  dangling(): Promise<readonly Digest[]>;
  scrubMark(): Promise<ScrubMark | undefined>;
  markScrub(mark: ScrubMark): Promise<void>;
}

/** Ages are ms since the upstream said it. */
export interface MetadataLimits {
  readonly tagAgeMs: number;
  readonly tags: number;
  readonly listAgeMs: number;
  readonly lists: number;
  /** Of all lists together. */
  readonly listBytes: number;
}

/** What is kept besides what the configuration says of the age of lists. */
export const metadataLimits = {
  // For longer no such tag is believed.
  tagAgeMs: 24 * 60 * 60_000,
  tags: 10_000,
  lists: 10_000,
  listBytes: 64 * 1024 * 1024,
} as const satisfies Omit<MetadataLimits, "listAgeMs">;

/** Every call does a small, bounded piece of work, so that none holds up a request. */
export interface MetadataExpiry {
  /** Forgets some of what is too old at `now`, or one too many, oldest first; how many rows that were, 0 when it is done. */
  sweep(now: number, limits: MetadataLimits): Promise<number>;
}

/** Why a policy refuses what it refuses, in one word for metrics. */
export type RefusalReason = "age" | "size" | "platform" | "signature";

/** What a policy says of a manifest. Times are ms since the epoch. */
export interface Verdict {
  /** Absent when the manifest may be served. */
  readonly refusal?: {
    readonly reason: RefusalReason;
    /** One sentence for people. */
    readonly why: string;
  };
  /** When it is to be asked again; absent when it holds for good. */
  readonly until?: number;
}

/** Policies are named by the hash of what they ask for, so that a changed one finds no verdicts. */
export type PolicyName = string;

/** What policies have said of manifests. Nothing of it goes with the content when that is evicted. */
export interface Verdicts {
  of(repository: Repository, digest: Digest, policy: PolicyName): Promise<Verdict | undefined>;
  keep(repository: Repository, digest: Digest, policy: PolicyName, verdict: Verdict): Promise<void>;
  /** Does a manifest that one of these policies lets this repository serve name `digest`? An index, if `by` says so. */
  isNamedByAllowed(
    repository: Repository,
    digest: Digest,
    policies: readonly PolicyName[],
    by: "any" | "index",
  ): Promise<boolean>;
  /** The manifests held by this repository that name `digest`; some, if many. */
  namers(repository: Repository, digest: Digest): Promise<Digest[]>;
  /** The same of all repositories. */
  namersAnywhere(digest: Digest): Promise<Digest[]>;
  /** Forgets verdicts of other policies than these. */
  prune(policies: readonly PolicyName[]): Promise<void>;
}
