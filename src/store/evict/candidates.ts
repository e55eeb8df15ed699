/** Which images may be evicted, in which order, and why; and the list of all that are held. */
import { matches, type Pattern } from "../../oci/pattern.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Repository, Tag } from "../../oci/reference.ts";
import type { HeldImage, Inventory } from "../catalog.ts";
import { isPinned, overdue, type RetentionRule } from "./retention.ts";
import { TimeSlices } from "../../async/slices.ts";

/** Why bytes are evicted. */
export type EvictionReason = "capacity" | "age" | "unused" | "removed" | "orphan";

/** An image that may be evicted. */
export interface EvictionCandidate {
  readonly image: HeldImage;
  readonly reason: EvictionReason;
}

/** An image as it is listed. */
export interface ShownImage extends HeldImage {
  readonly tags: readonly Tag[];
  readonly pinned: boolean;
  /** Bytes that are held of it, its platforms and its referrers. */
  readonly bytes: number;
}

/** What a plan drops from a repository: no image is a part of that any more. */
export type Dropped = (repository: Repository) => ReadonlySet<Digest>;

export interface CandidatesOptions {
  readonly inventory: Inventory;
  readonly pins: () => Iterable<Pattern>;
  readonly retention: readonly RetentionRule[];
  readonly now: () => number;
  /** For how many ms after its last use an image is no candidate for its capacity: its layers may still be pulled. */
  readonly graceMs: number;
  /** Stops the search. */
  readonly signal: AbortSignal;
}

/** How many images are looked at between two turns of the event loop at most. */
const perPage = 50;

export class Candidates {
  readonly #options: CandidatesOptions;

  constructor(options: CandidatesOptions) {
    this.#options = options;
  }

  /** Images that are no part of another, unused for longest first, without those in use now. */
  async *leastUsed(dropped: Dropped): AsyncGenerator<EvictionCandidate> {
    const { inventory, now, graceMs } = this.#options;
    const at = now();
    for await (const image of this.#pages((after) => inventory.byUse(after, perPage))) {
      // A use in the future was noted while the clock was ahead. When it really was is not known, but it must not keep the image for ever.
      if (Math.abs(at - image.usedAt) < graceMs || (await this.#isPart(image, dropped))) continue;
      if (!(await this.isPinned(image))) yield { image, reason: "capacity" };
    }
  }

  /** Images that are no part of another and that their retention rule does not keep any longer. */
  async *expired(dropped: Dropped): AsyncGenerator<EvictionCandidate> {
    const { inventory, retention, now } = this.#options;
    if (retention.length === 0) return;
    for await (const image of this.#pages((after) => inventory.byName(after, perPage))) {
      const tags = await inventory.tagsOf(image.repository, image.digest);
      const reason = overdue(retention, { ...image, tags }, now());
      if (!reason || (await this.#isPart(image, dropped)) || (await this.isPinned(image))) continue;
      yield { image, reason };
    }
  }

  /** Images that `pattern` names and no pin keeps; parts of others only when it names them by tag or digest. */
  async *matching(pattern: Pattern, dropped: Dropped): AsyncGenerator<EvictionCandidate> {
    const { inventory } = this.#options;
    const namesParts = pattern.tag !== undefined || pattern.digest !== undefined;
    for await (const image of this.#pages((after) => inventory.byName(after, perPage))) {
      const tags = await inventory.tagsOf(image.repository, image.digest);
      if (!matches(pattern, { ...image, tags }) || (await this.isPinned(image))) continue;
      if (namesParts || !(await this.#isPart(image, dropped))) yield { image, reason: "removed" };
    }
  }

  /** Every image that is no part of another, by name, after `after`. */
  async *list(after: Pick<HeldImage, "repository" | "digest"> | undefined): AsyncGenerator<ShownImage> {
    const { inventory, pins } = this.#options;
    for await (const image of this.#pages((last) => inventory.byName(last ?? after, perPage))) {
      if (await this.#isPart(image)) continue;
      const tags = await inventory.tagsOf(image.repository, image.digest);
      const pinned = isPinned(pins(), { ...image, tags });
      yield { ...image, tags, pinned, bytes: await this.#bytesOf(image) };
      await new Promise(setImmediate);
    }
  }

  /** Does a pin match this image, or one that it is a part of? */
  async isPinned(image: HeldImage): Promise<boolean> {
    const { inventory, pins } = this.#options;
    const { repository } = image;
    for await (const digest of this.#withParents(image)) {
      const tags = await inventory.tagsOf(repository, digest);
      if (isPinned(pins(), { repository, digest, tags })) return true;
    }
    return false;
  }

  async #bytesOf({ repository, digest }: HeldImage): Promise<number> {
    const { inventory } = this.#options;
    const manifests = new Set([digest]);
    const sizes = new Map<Digest, number>();
    for (const manifest of manifests) {
      for (const part of await inventory.parts(repository, manifest)) manifests.add(part.digest);
      for (const { digest, size } of await inventory.contents(manifest)) sizes.set(digest, size);
    }
    return sizes.values().reduce((sum, size) => sum + size, 0);
  }

  /** A part is evicted with the whole. Images that are parts of one another, and of nothing else, count as wholes. */
  async #isPart(image: HeldImage, dropped?: Dropped): Promise<boolean> {
    const { inventory } = this.#options;
    const { repository } = image;
    for await (const digest of this.#withParents(image, dropped)) {
      const parents = await inventory.parents(repository, digest, dropped?.(repository));
      if (parents.length === 0) return digest !== image.digest;
    }
    return false;
  }

  /** The image, what it is a part of, what that is a part of, and so on. */
  async *#withParents({ repository, digest }: HeldImage, dropped?: Dropped): AsyncGenerator<Digest> {
    const found = new Set([digest]);
    for (const one of found) {
      yield one;
      const parents = await this.#options.inventory.parents(repository, one, dropped?.(repository));
      for (const parent of parents) found.add(parent);
    }
  }

  /** All images, page by page, with a turn of the event loop after each. Images may be dropped meanwhile. */
  async *#pages(next: (after: HeldImage | undefined) => Promise<HeldImage[]>): AsyncGenerator<HeldImage> {
    const slices = new TimeSlices();
    for (let after: HeldImage | undefined; ;) {
      this.#options.signal.throwIfAborted();
      const page = await next(after);
      for (const image of page) {
        yield image;
        // What the caller does with an image are lookups too, and each may wait for the disk.
        await slices.rest();
      }
      after = page.at(-1);
      if (page.length === 0) return;
      await new Promise(setImmediate);
    }
  }
}
