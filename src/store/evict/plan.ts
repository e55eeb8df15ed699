/** The plan of an eviction: step by step, what is evicted and why, and the bytes that this frees. It changes nothing. */
import { TimeSlices } from "../../async/slices.ts";
import type { Digest } from "../../oci/digest.ts";
import { formatRepository, type Repository, type Tag } from "../../oci/reference.ts";
import type { BlobRow, HeldImage, Inventory, Orphan } from "../catalog.ts";
import type { Candidates, Dropped, EvictionCandidate, EvictionReason } from "./candidates.ts";

/** One image with all that is evicted with it, or some orphans. */
export interface EvictionStep {
  readonly reason: EvictionReason;
  /** Undefined for orphans. */
  readonly image: HeldImage | undefined;
  readonly tags: readonly Tag[];
  /** The image, and the children and referrers that nothing else keeps, in the order in which they are dropped. */
  readonly manifests: readonly HeldImage[];
  /** What is freed once this and all earlier steps are done: what two images share is freed with the second. */
  readonly blobs: readonly BlobRow[];
  /** Of {@link blobs}. */
  readonly bytes: number;
}

/** How many orphans are one step. */
const orphansPerStep = 50;

/** Plans each step as if those before it were done, whether they are by now or not. */
export class EvictionPlan {
  readonly #inventory: Inventory;
  readonly #candidates: Candidates;
  /** For the candidates of this plan. */
  readonly dropped: Dropped = (repository) => this.#droppedFrom(repository);
  /** What each repository drops. */
  readonly #dropped = new Map<string, Set<Digest>>();
  /** Manifests that no repository holds any more then. */
  readonly #unheld = new Set<Digest>();
  readonly #freed = new Set<Digest>();

  constructor(inventory: Inventory, candidates: Candidates) {
    this.#inventory = inventory;
    this.#candidates = candidates;
  }

  /** Orphans since `before` or earlier, or since later than `ahead`, until it is enough. */
  async *orphans(before: number, ahead: number, isEnough = never): AsyncGenerator<EvictionStep> {
    for (let last: Orphan | undefined; !(await isEnough());) {
      const found = await this.#inventory.orphans(before, ahead, last, orphansPerStep);
      last = found.at(-1);
      if (!last) return;
      const blobs = found.filter(({ digest }) => !this.#freed.has(digest));
      for (const { digest } of blobs) this.#freed.add(digest);
      if (blobs.length > 0)
        yield { reason: "orphan", image: undefined, tags: [], manifests: [], blobs, bytes: sizeOf(blobs) };
      await new Promise(setImmediate);
    }
  }

  /** These images, but for those that are evicted with another one, until it is enough. */
  async *images(
    candidates: AsyncIterable<EvictionCandidate>,
    isEnough = never,
  ): AsyncGenerator<EvictionStep> {
    for await (const { image, reason } of candidates) {
      if (await isEnough()) return;
      if (this.#droppedFrom(image.repository).has(image.digest)) continue;
      const tags = await this.#inventory.tagsOf(image.repository, image.digest);
      const manifests = await this.#drop(image);
      const blobs = await this.#free(manifests);
      yield { reason, image, tags, manifests, blobs, bytes: sizeOf(blobs) };
    }
  }

  async #drop(image: HeldImage): Promise<HeldImage[]> {
    const dropped = this.#droppedFrom(image.repository);
    dropped.add(image.digest);
    const manifests = [image];
    const slices = new TimeSlices();
    for (const { repository, digest } of manifests) {
      const holders = await this.#inventory.holders(digest);
      if (holders.every((holder) => this.#droppedFrom(holder).has(digest))) this.#unheld.add(digest);
      for (const part of await this.#inventory.parts(repository, digest)) {
        await slices.rest();
        if (dropped.has(part.digest) || (await this.#isKept(part))) continue;
        dropped.add(part.digest);
        manifests.push(part);
      }
    }
    return manifests;
  }

  /** Is it a part of something that stays, or pinned itself? */
  async #isKept(part: HeldImage): Promise<boolean> {
    const { repository, digest } = part;
    const parents = await this.#inventory.parents(repository, digest, this.#droppedFrom(repository));
    return parents.length > 0 || this.#candidates.isPinned(part);
  }

  async #free(manifests: readonly HeldImage[]): Promise<BlobRow[]> {
    const blobs: BlobRow[] = [];
    const slices = new TimeSlices();
    for (const { digest } of manifests) {
      if (!this.#unheld.has(digest)) continue;
      for (const blob of await this.#inventory.contents(digest)) {
        await slices.rest();
        if (this.#freed.has(blob.digest)) continue;
        if (!(await this.#inventory.neededOnlyBy(blob.digest, this.#unheld))) continue;
        this.#freed.add(blob.digest);
        blobs.push(blob);
      }
    }
    return blobs;
  }

  #droppedFrom(repository: Repository): Set<Digest> {
    return this.#dropped.getOrInsertComputed(formatRepository(repository), () => new Set());
  }
}

async function never(): Promise<boolean> {
  return false;
}

function sizeOf(blobs: readonly BlobRow[]): number {
  return blobs.reduce((sum, { size }) => sum + size, 0);
}
