/** Letting go of images and of what nobody names any more: in earnest, or as a rehearsal that only counts. */
import type { Digest } from "../../oci/digest.ts";
import type { Blobs } from "../blobs.ts";
import type { Candidates, EvictionReason } from "./candidates.ts";
import type { HeldImage, Inventory } from "../catalog.ts";
import { TimeSlices } from "../../async/slices.ts";

/** How many blobs are let go of between two turns of the event loop. */
const perStep = 50;

/** How many steps are taken before the disk is waited for. */
const stepsPerRest = 32;

/** What an eviction does to images, or would do. Both count the bytes that come free. */
export interface Remover {
  /** Lets go of an image with its children and referrers, as far as nobody else names them. */
  image(image: HeldImage, reason: EvictionReason): Promise<number>;
  /** Lets go of blobs that nobody has named since `before`, or since after `ahead`, until `enough` bytes have come free. */
  orphans(before: number, ahead: number, enough?: number): Promise<number>;
}

export interface RemovalOptions {
  readonly inventory: Inventory;
  readonly blobs: Pick<Blobs, "remove">;
  readonly candidates: Candidates;
  /** Waits until the disk has taken what was written so far. */
  readonly rest: () => Promise<void>;
  /** Told of every batch of bytes that was let go of. */
  readonly evicted: (reason: EvictionReason, bytes: number) => void;
  /** Stops the work, between two images or two batches. */
  readonly signal: AbortSignal;
}

/** {@link Remover} in earnest. */
export class Removal implements Remover {
  readonly #options: RemovalOptions;
  #steps = 0;

  constructor(options: RemovalOptions) {
    this.#options = options;
  }

  async image(image: HeldImage, reason: EvictionReason): Promise<number> {
    const { inventory, candidates, signal } = this.#options;
    signal.throwIfAborted();
    const going = [image];
    const breaks = new TimeSlices();
    for (const { repository, digest } of going) {
      const belongings = await inventory.belongings(repository, digest);
      while (!(await inventory.drop(repository, digest))) await this.#turn();
      for (const part of belongings) {
        const kept = (await inventory.keepers(repository, part.digest)).length > 0;
        if (!kept && !(await candidates.isPinned(part))) going.push(part);
        await breaks.rest();
      }
      await this.#turn();
    }
    return this.#sweep(0, Infinity, Infinity, reason);
  }

  orphans(before: number, ahead: number, enough = Infinity): Promise<number> {
    return this.#sweep(before, ahead, enough, "orphan");
  }

  async #sweep(before: number, ahead: number, enough: number, reason: EvictionReason): Promise<number> {
    const { inventory, blobs, evicted, signal } = this.#options;
    let freed = 0;
    while (freed < enough) {
      signal.throwIfAborted();
      const batch = await inventory.discard(before, ahead, perStep);
      if (batch.length === 0) break;
      // The catalog has forgotten them, so nobody opens them any more; who reads one has its file open and finishes.
      // A crash here leaves files without a row, which are found again at the start.
      for (const { digest } of batch) await blobs.remove(digest);
      const bytes = batch.reduce((sum, { size }) => sum + size, 0);
      evicted(reason, bytes);
      freed += bytes;
      await this.#turn();
    }
    return freed;
  }

  /** Lets others have their turn, and the log of the database not grow without end. */
  async #turn(): Promise<void> {
    this.#steps += 1;
    if (this.#steps % stepsPerRest === 0) await this.#options.rest();
    else await new Promise(setImmediate);
  }
}

/** {@link Remover} that changes nothing. What two of its images share comes free with the second. */
export class DryRun implements Remover {
  readonly #inventory: Inventory;
  readonly #candidates: Candidates;
  readonly #gone = new Set<Digest>();
  readonly #counted = new Set<Digest>();

  constructor({ inventory, candidates }: Pick<RemovalOptions, "inventory" | "candidates">) {
    this.#inventory = inventory;
    this.#candidates = candidates;
  }

  async image(image: HeldImage): Promise<number> {
    const going = new Map([[image.digest, image]]);
    const breaks = new TimeSlices();
    for (const { repository, digest } of going.values()) {
      if (!(await this.#inventory.heldElsewhere(repository, digest))) this.#gone.add(digest);
      for (const part of await this.#inventory.belongings(repository, digest)) {
        await breaks.rest();
        if (going.has(part.digest)) continue;
        const keepers = await this.#inventory.keepers(repository, part.digest);
        const kept = keepers.some((keeper) => !this.#gone.has(keeper));
        if (!kept && !(await this.#candidates.isPinned(part))) going.set(part.digest, part);
      }
      await new Promise(setImmediate);
    }
    let freed = 0;
    for (const digest of going.keys()) {
      if (!this.#gone.has(digest)) continue;
      for (const blob of await this.#inventory.contents(digest)) {
        freed += await this.#count(blob);
        await breaks.rest();
      }
    }
    return freed;
  }

  async orphans(before: number, ahead: number): Promise<number> {
    const some = await this.#inventory.orphans(before, ahead, 1000);
    return some.reduce((sum, { size }) => sum + size, 0);
  }

  async #count({ digest, size }: { readonly digest: Digest; readonly size: number }): Promise<number> {
    if (this.#counted.has(digest) || !(await this.#inventory.namedOnlyBy(digest, this.#gone))) return 0;
    this.#counted.add(digest);
    return size;
  }
}
