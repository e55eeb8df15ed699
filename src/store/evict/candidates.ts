/** Which images go, and in which order: those that rules let go, those unused for longest, those that somebody names. */
import { matches, type Pattern } from "../../oci/pattern.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Tag } from "../../oci/reference.ts";
import type { HeldImage, Inventory } from "../catalog.ts";
import { expiry, isPinned, type RetentionRule } from "./retention.ts";
import { TimeSlices } from "../../async/slices.ts";

/** Why bytes are let go of. */
export type EvictionReason = "capacity" | "age" | "unused" | "removed" | "orphan";

/** An image that is to go. */
export interface EvictionCandidate {
  readonly image: HeldImage;
  readonly tags: readonly Tag[];
  readonly reason: EvictionReason;
}

/** An image as people see it. */
export interface ShownImage extends HeldImage {
  readonly tags: readonly Tag[];
  readonly pinned: boolean;
  /** Bytes that are held of it, its platforms and its referrers. */
  readonly bytes: number;
}

export interface CandidatesOptions {
  readonly inventory: Inventory;
  readonly pins: () => Iterable<Pattern>;
  readonly retention: readonly RetentionRule[];
  readonly now: () => number;
  /** For how many ms after its last use an image is kept in any case: its layers may still be on their way. */
  readonly graceMs: number;
  /** Stops the search. */
  readonly signal: AbortSignal;
}

/** How many images are looked at between two turns of the event loop at most. */
const perStep = 50;

export class Candidates {
  readonly #options: CandidatesOptions;

  constructor(options: CandidatesOptions) {
    this.#options = options;
  }

  /** Images of which no other is a part, unused for longest first; without those that are in use now. */
  async *leastUsed(): AsyncGenerator<EvictionCandidate> {
    const { inventory, now, graceMs } = this.#options;
    const at = now();
    for await (const image of this.#pages((after) => inventory.byUse(after, perStep))) {
      // What was used in the future was so while the clock was ahead: nobody knows when, and it must not stay for ever.
      if (Math.abs(at - image.usedAt) < graceMs) continue;
      if (await this.#isPart(image)) continue;
      const tags = await inventory.tagsOf(image.repository, image.digest);
      if (!isPinned(this.#options.pins(), { ...image, tags })) yield { image, tags, reason: "capacity" };
    }
  }

  /** Images that have outlived their retention rule. */
  async *expired(): AsyncGenerator<EvictionCandidate> {
    const { inventory, retention, now } = this.#options;
    if (retention.length === 0) return;
    for await (const image of this.#pages((after) => inventory.byName(after, perStep))) {
      const tags = await inventory.tagsOf(image.repository, image.digest);
      const reason = expiry(retention, { ...image, tags }, now());
      if (!reason || isPinned(this.#options.pins(), { ...image, tags })) continue;
      if (!(await this.#isPart(image))) yield { image, tags, reason };
    }
  }

  /** Every image that is no part of another, by name, after `after`. */
  async *wholes(after: Pick<HeldImage, "repository" | "digest"> | undefined): AsyncGenerator<ShownImage> {
    const { inventory, pins } = this.#options;
    for await (const image of this.#pages((last) => inventory.byName(last ?? after, perStep))) {
      if (await this.#isPart(image)) continue;
      const tags = await inventory.tagsOf(image.repository, image.digest);
      const pinned = isPinned(pins(), { ...image, tags });
      yield { ...image, tags, pinned, bytes: await this.#bytesOf(image) };
      await new Promise(setImmediate);
    }
  }

  /** Images that `pattern` names; parts of others only when it names them by tag or digest, and a pin keeps none of those. */
  async *matching(pattern: Pattern): AsyncGenerator<EvictionCandidate> {
    const { inventory } = this.#options;
    const namesParts = pattern.tag !== undefined || pattern.digest !== undefined;
    for await (const image of this.#pages((after) => inventory.byName(after, perStep))) {
      const tags = await inventory.tagsOf(image.repository, image.digest);
      if (!matches(pattern, { ...image, tags }) || (await this.isPinned(image))) continue;
      if (namesParts || !(await this.#isPart(image))) yield { image, tags, reason: "removed" };
    }
  }

  /** Does a pin keep this image, or one that it is a part of? */
  async isPinned(image: HeldImage): Promise<boolean> {
    const { inventory, pins } = this.#options;
    const { repository } = image;
    for await (const digest of this.#upwards(image)) {
      const tags = await inventory.tagsOf(repository, digest);
      if (isPinned(pins(), { repository, digest, tags })) return true;
    }
    return false;
  }

  async #bytesOf({ repository, digest }: HeldImage): Promise<number> {
    const family = new Set([digest]);
    const sizes = new Map<Digest, number>();
    for (const one of family) {
      for (const part of await this.#options.inventory.belongings(repository, one)) family.add(part.digest);
      for (const { digest, size } of await this.#options.inventory.contents(one)) sizes.set(digest, size);
    }
    return sizes.values().reduce((sum, size) => sum + size, 0);
  }

  /** A part goes with the whole. Images that are parts of one another and of nothing else would never go, so they are wholes. */
  async #isPart(image: HeldImage): Promise<boolean> {
    for await (const digest of this.#upwards(image)) {
      const { length } = await this.#options.inventory.keepers(image.repository, digest);
      if (length === 0) return digest !== image.digest;
    }
    return false;
  }

  /** The image and what it is a part of, whatever that is a part of included. */
  async *#upwards({ repository, digest }: HeldImage): AsyncGenerator<Digest> {
    const found = new Set([digest]);
    for (const one of found) {
      yield one;
      for (const keeper of await this.#options.inventory.keepers(repository, one)) found.add(keeper);
    }
  }

  /** All images, page by page, with a turn of the event loop after each. What is dropped meanwhile disturbs nothing. */
  async *#pages(next: (after: HeldImage | undefined) => Promise<HeldImage[]>): AsyncGenerator<HeldImage> {
    const breaks = new TimeSlices();
    for (let after: HeldImage | undefined; ;) {
      this.#options.signal.throwIfAborted();
      const page = await next(after);
      for (const image of page) {
        yield image;
        // What is done with an image are lookups, too, and each may wait for the disk.
        await breaks.rest();
      }
      after = page.at(-1);
      if (page.length === 0) return;
      await new Promise(setImmediate);
    }
  }
}
