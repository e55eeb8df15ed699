/** Which images go, and in which order: those that rules let go, those unused for longest, those that somebody names. */
import { matches, type Pattern } from "../oci/pattern.ts";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import type { HeldImage, Inventory } from "./inventory.ts";
import { expiry, isPinned, type RetentionRule } from "./rules.ts";

/** Why bytes are let go of. */
export type Reason = "capacity" | "age" | "unused" | "removed" | "orphan";

/** An image that is to go. */
export interface Going {
  readonly image: HeldImage;
  readonly tags: readonly Tag[];
  readonly reason: Reason;
}

export interface CandidatesOptions {
  readonly inventory: Inventory;
  readonly pins: () => Iterable<Pattern>;
  readonly retention: readonly RetentionRule[];
  readonly now: () => number;
  /** For how many ms after its last use an image is kept in any case: its layers may still be on their way. */
  readonly graceMs: number;
}

/** How many images are looked at between two turns of the event loop. */
const perStep = 50;

export class Candidates {
  readonly #options: CandidatesOptions;

  constructor(options: CandidatesOptions) {
    this.#options = options;
  }

  /** Images of which no other is a part, unused for longest first. Stops at those that are in use now. */
  async *leastUsed(): AsyncGenerator<Going> {
    const { inventory, now, graceMs } = this.#options;
    const latest = now() - graceMs;
    for await (const image of pages((after) => inventory.byUse(after, perStep))) {
      if (image.usedAt > latest) return;
      const tags = await this.#unpinned(image);
      if (tags && !(await this.#isPart(image))) yield { image, tags, reason: "capacity" };
    }
  }

  /** Images that have outlived their retention rule. */
  async *expired(): AsyncGenerator<Going> {
    const { inventory, retention, now } = this.#options;
    if (retention.length === 0) return;
    for await (const image of pages((after) => inventory.byName(after, perStep))) {
      const tags = await inventory.tagsOf(image.repository, image.digest);
      const reason = expiry(retention, { ...image, tags }, now());
      if (!reason || isPinned(this.#options.pins(), { ...image, tags })) continue;
      if (!(await this.#isPart(image))) yield { image, tags, reason };
    }
  }

  /** Images that `pattern` names, parts of others too. */
  async *matching(pattern: Pattern): AsyncGenerator<Going> {
    const { inventory } = this.#options;
    for await (const image of pages((after) => inventory.byName(after, perStep))) {
      const tags = await this.#unpinned(image);
      if (tags && matches(pattern, { ...image, tags })) yield { image, tags, reason: "removed" };
    }
  }

  /** Does a pin keep this image? */
  async isPinned(image: HeldImage): Promise<boolean> {
    return (await this.#unpinned(image)) === undefined;
  }

  async #unpinned(image: HeldImage): Promise<Tag[] | undefined> {
    const tags = await this.#options.inventory.tagsOf(image.repository, image.digest);
    return isPinned(this.#options.pins(), { ...image, tags }) ? undefined : tags;
  }

  /** A part goes with the whole. Images that are parts of one another and of nothing else would never go, so they are wholes. */
  async #isPart({ repository, digest }: HeldImage): Promise<boolean> {
    const upwards = new Set<Digest>([digest]);
    for (const one of upwards) {
      const keepers = await this.#options.inventory.keepers(repository, one);
      if (keepers.length === 0 && one !== digest) return true;
      for (const keeper of keepers) upwards.add(keeper);
    }
    return false;
  }
}

/** All images, page by page, with a turn of the event loop after each. What is dropped meanwhile disturbs nothing. */
async function* pages(
  next: (after: HeldImage | undefined) => Promise<HeldImage[]>,
): AsyncGenerator<HeldImage> {
  for (let after: HeldImage | undefined; ;) {
    const page = await next(after);
    yield* page;
    after = page.at(-1);
    if (page.length < perStep) return;
    await new Promise(setImmediate);
  }
}
