/** Eviction: plans and applies step by step. A dry run only plans. */
import { Semaphore } from "../../async/concurrency.ts";
import type { Pattern } from "../../oci/pattern.ts";
import type { Repository } from "../../oci/reference.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Blobs } from "../blobs.ts";
import type { HeldImage, Inventory } from "../catalog.ts";
import type { Candidates, EvictionReason } from "./candidates.ts";
import { EvictionPlan, type EvictionStep } from "./plan.ts";
import type { CapacityMarks } from "./space.ts";

/** What was evicted, or in a dry run would be: an image and the bytes that this freed, or orphans. */
export type Evicted = Pick<EvictionStep, "reason" | "tags" | "bytes"> & {
  readonly image: Pick<HeldImage, "repository" | "digest"> | undefined;
};

export interface EvictorOptions {
  readonly inventory: Inventory;
  readonly blobs: Pick<Blobs, "remove">;
  readonly candidates: Candidates;
  readonly uses: {
    flush(): Promise<void>;
    isNoted(repository: Repository, digest: Digest): boolean;
  };
  /** Waits until the disk has taken what was written so far. */
  readonly rest: () => Promise<void>;
  /** Called for every batch of bytes that was freed. */
  readonly freed: (reason: EvictionReason, bytes: number) => void;
  readonly now: () => number;
  /** For how many ms a blob that no manifest names is kept: its manifest may be about to be pulled. */
  readonly graceMs: number;
  /** Stops the work, between two images or two batches. */
  readonly signal: AbortSignal;
}

/** For how long a pass that could not free enough is not repeated, in ms. */
const pauseMs = 10_000;

/** How many steps are taken before the disk is waited for. */
const stepsPerRest = 32;

type Steps = (plan: EvictionPlan, held: () => Promise<number>) => AsyncIterable<EvictionStep>;

export class Evictor {
  readonly #options: EvictorOptions;
  #running: Promise<void> | undefined;
  #goal = Infinity;
  #fruitlessUntil = 0;
  readonly #looks = new Semaphore(1);
  /** The most that a look has found to be free, and until when that counts. */
  #most = { bytes: 0, until: 0 };
  #steps = 0;

  constructor(options: EvictorOptions) {
    this.#options = options;
  }

  /** Evicts orphans and the least recently used until at most `goal` bytes are held. All callers share one pass, to the lowest goal. */
  makeSpace(goal: number): Promise<void> {
    this.#goal = Math.min(this.#goal, goal);
    this.#running ??= this.#makeSpace().finally(() => {
      this.#running = undefined;
      this.#goal = Infinity;
    });
    return this.#running;
  }

  /** Could {@link makeSpace} free so many bytes? One look at a time; after one in vain, no other for more for a while. */
  mayFree(bytes: number): Promise<boolean> {
    return this.#looks.run(async () => {
      const { inventory, candidates, uses, now } = this.#options;
      if (now() < this.#most.until && bytes > this.#most.bytes) return false;
      await uses.flush();
      let planned = 0;
      const isEnough = async (): Promise<boolean> => planned >= bytes;
      for await (const step of this.#leastUsed(new EvictionPlan(inventory, candidates), isEnough))
        planned += step.bytes;
      if (planned < bytes) this.#most = { bytes: planned, until: now() + pauseMs };
      return planned >= bytes;
    });
  }

  /** Evicts what the retention rules and the grace of orphans do not keep. */
  tidy(): Promise<void> {
    return this.#pass((plan) => this.#overdue(plan), false);
  }

  /** {@link tidy}, and then down to the low mark if more than the high one is held. */
  evict(marks: CapacityMarks, dryRun: boolean, each: (evicted: Evicted) => void): Promise<void> {
    return this.#pass((plan, held) => this.#overdueAndOver(marks, plan, held), dryRun, each);
  }

  /** Evicts the images that `pattern` names and no pin keeps. */
  remove(pattern: Pattern, dryRun: boolean, each: (evicted: Evicted) => void): Promise<void> {
    return this.#pass(
      (plan) => plan.images(this.#options.candidates.matching(pattern, plan.dropped)),
      dryRun,
      each,
    );
  }

  async #makeSpace(): Promise<void> {
    const { inventory, now } = this.#options;
    const isEnough = async (): Promise<boolean> => (await inventory.occupied()) <= this.#goal;
    if (now() < this.#fruitlessUntil || (await isEnough())) return;
    await this.#pass((plan) => this.#leastUsed(plan, isEnough), false);
    if (!(await isEnough())) this.#fruitlessUntil = now() + pauseMs;
  }

  async *#overdue(plan: EvictionPlan): AsyncGenerator<EvictionStep> {
    yield* plan.orphans(...this.#orphansOutside());
    yield* plan.images(this.#options.candidates.expired(plan.dropped));
  }

  async *#overdueAndOver(
    { high, low }: CapacityMarks,
    plan: EvictionPlan,
    held: () => Promise<number>,
  ): AsyncGenerator<EvictionStep> {
    yield* this.#overdue(plan);
    if ((await held()) <= high) return;
    yield* this.#leastUsed(plan, async () => (await held()) <= low);
  }

  /** No image goes while there are orphans, however new: those that their manifest follows cost a request each, not a pull. */
  async *#leastUsed(plan: EvictionPlan, isEnough: () => Promise<boolean>): AsyncGenerator<EvictionStep> {
    yield* plan.orphans(Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, isEnough);
    yield* plan.images(this.#options.candidates.leastUsed(plan.dropped), isEnough);
  }

  /** Within these times an orphan's manifest may still come; times after the second are of a clock that was ahead. */
  #orphansOutside(): [before: number, ahead: number] {
    const { now, graceMs } = this.#options;
    return [now() - graceMs, now() + graceMs];
  }

  /** Applies each step as soon as it is planned. In a dry run nothing is applied, and `held` is what would be held then. */
  async #pass(steps: Steps, dryRun: boolean, each: (evicted: Evicted) => void = () => {}): Promise<void> {
    const { inventory, candidates, uses } = this.#options;
    await uses.flush();
    let planned = 0;
    const held = async (): Promise<number> => (await inventory.occupied()) - planned;
    for await (const step of steps(new EvictionPlan(inventory, candidates), held)) {
      if (dryRun) planned += step.bytes;
      const bytes = dryRun ? step.bytes : await this.#apply(step);
      if (bytes !== undefined) each({ ...step, bytes });
    }
  }

  /** The bytes that were freed, or undefined when the image is to stay because of what has changed since it was planned. */
  async #apply(step: EvictionStep): Promise<number | undefined> {
    const { inventory, signal } = this.#options;
    signal.throwIfAborted();
    if (step.image && !(await this.#mayStillGo(step.image, step))) return undefined;
    for (const manifest of step.manifests) {
      if (manifest !== step.image && (await this.#isKept(manifest))) continue;
      while (!(await inventory.drop(manifest.repository, manifest.digest))) await this.#turn();
      await this.#turn();
    }
    return this.#remove(step);
  }

  /** Is it still held, not pinned and, where its last use is why it is evicted, not used again? */
  async #mayStillGo(image: HeldImage, { reason, manifests }: EvictionStep): Promise<boolean> {
    const { inventory, candidates, uses } = this.#options;
    const usedAt = await inventory.lastUse(image.repository, image.digest);
    if (usedAt === undefined || (await candidates.isPinned(image))) return false;
    if (reason !== "capacity" && reason !== "unused") return true;
    return (
      usedAt === image.usedAt && !manifests.some(({ repository, digest }) => uses.isNoted(repository, digest))
    );
  }

  /** Has something else, or a pin, come to keep a part since it was planned? */
  async #isKept(part: HeldImage): Promise<boolean> {
    const { inventory, candidates } = this.#options;
    const parents = await inventory.parents(part.repository, part.digest);
    return parents.length > 0 || candidates.isPinned(part);
  }

  async #remove({ reason, blobs: planned }: EvictionStep): Promise<number> {
    const { inventory, blobs, freed, signal } = this.#options;
    let sum = 0;
    for (let left: readonly Digest[] = planned.map(({ digest }) => digest); left.length > 0;) {
      signal.throwIfAborted();
      const { discarded, rest } = await inventory.discard(left);
      // Without a row no one opens them any more; a reader has its file open and finishes. A crash here leaves files without
      // a row, which are found again at the start.
      for (const { digest } of discarded) await blobs.remove(digest);
      const bytes = discarded.reduce((total, { size }) => total + size, 0);
      if (bytes > 0) freed(reason, bytes);
      sum += bytes;
      left = rest;
      await this.#turn();
    }
    return sum;
  }

  /** Gives others a turn, and now and then lets the disk catch up, so that the database's log does not grow without end. */
  async #turn(): Promise<void> {
    this.#steps += 1;
    if (this.#steps % stepsPerRest === 0) await this.#options.rest();
    else await new Promise(setImmediate);
  }
}
