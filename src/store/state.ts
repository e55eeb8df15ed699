/** What cannot be rebuilt from the blobs or the upstreams. Absence is undefined throughout. */
import type { Digest } from "../oci/digest.ts";
import type { Repository, Tag } from "../oci/reference.ts";

export interface State {
  readonly pins: PinTable;
  readonly anchors: Anchors;
  readonly sightings: Sightings;
  readonly visibilities: Visibilities;
  readonly warmJobs: WarmJobTable;
  readonly proof: Proof;
}

/** Whether the state, and the ledger with it, is known to be whole. */
export interface Proof {
  /** When it came from a backup, or was made anew in place of a lost one (ms since the epoch), if that is not confirmed yet. */
  unprovenSince(): Promise<number | undefined>;
  /** An operator says that it holds as it is. */
  confirm(): Promise<void>;
}

/** An owner whose pins are replaced all at once: the cluster, for the images that its pods use. */
export type PinOwner = "cluster";

/** Pins that were made while Hubcap ran, as patterns. */
export interface PinTable {
  all(): Promise<readonly string[]>;
  add(pattern: string, pinnedAt: number): Promise<void>;
  remove(pattern: string): Promise<void>;
  owned(owner: PinOwner): Promise<readonly string[]>;
  /** Puts these in the place of all that `owner` had. */
  replace(owner: PinOwner, patterns: readonly string[], pinnedAt: number): Promise<void>;
}

/** What immutable tags meant first. It outlives the content. */
export interface Anchors {
  of(repository: Repository, tag: Tag): Promise<Digest | undefined>;
  /** Anchors `tag` at `digest`, unless it has an anchor; gives the anchor that holds. */
  keep(repository: Repository, tag: Tag, digest: Digest, at: number): Promise<Digest>;
  /** Forgets the anchors of tags that are not `immutable` any more. */
  prune(immutable: (repository: Repository, tag: Tag) => boolean): Promise<void>;
}

/** When each digest was first seen in a repository, by a tag or by itself. It outlives the content. */
export interface Sightings {
  /** Only the first time counts. */
  note(repository: Repository, digest: Digest, tag: Tag | undefined, at: number): Promise<void>;
  /** When the first of these digests was first seen. */
  since(repository: Repository, digests: readonly Digest[]): Promise<number | undefined>;
  /** The tags by which any of these digests was seen; some, if many. */
  tags(repository: Repository, digests: readonly Digest[]): Promise<readonly Tag[]>;
}

/** What an upstream shows of a repository to a client without credentials. */
export interface Visibility {
  readonly isPublic: boolean;
  /** Milliseconds since the epoch. */
  readonly checkedAt: number;
}

export interface Visibilities {
  of(repository: Repository): Promise<Visibility | undefined>;
  mark(repository: Repository, visibility: Visibility): Promise<void>;
}

/** Orders to fetch images ahead, as they outlive the process. What a row says is the caller's affair. */
export interface WarmJobTable {
  /** All rows, oldest first. */
  all(): Promise<readonly string[]>;
  keep(id: string, createdAt: number, body: string): Promise<void>;
  remove(id: string): Promise<void>;
}
