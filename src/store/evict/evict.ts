/** Eviction: passes that let go of images until enough room is there, or until the rules are kept. */
import type { Pattern } from "../../oci/pattern.ts";
import type { Candidates, EvictionCandidate } from "./candidates.ts";
import type { Inventory } from "../catalog.ts";
import type { Remover } from "./remover.ts";

/** An image that went, or would go, and the bytes that came free with it. */
export interface Evicted extends EvictionCandidate {
  readonly bytes: number;
}

export interface EvictorOptions {
  readonly inventory: Inventory;
  readonly candidates: Candidates;
  readonly hand: Remover;
  /** Brings the use counts up to date. */
  readonly settle: () => Promise<void>;
  readonly now: () => number;
  /** For how many ms a blob that no manifest names is kept: its manifest may be about to be asked for. */
  readonly graceMs: number;
}

/** For how long a pass that found too little to let go of is not repeated, in ms. */
const pauseMs = 10_000;

export class Evictor {
  readonly #options: EvictorOptions;
  #running: Promise<void> | undefined;
  #goal = Infinity;
  #fruitlessUntil = 0;

  constructor(options: EvictorOptions) {
    this.#options = options;
  }

  /** Lets go of what was unused for longest until no more than `goal` bytes are held. One pass runs for all who ask. */
  makeRoom(goal: number, each: (gone: Evicted) => void = () => {}): Promise<void> {
    this.#goal = Math.min(this.#goal, goal);
    this.#running ??= this.#makeRoom(each).finally(() => {
      this.#running = undefined;
      this.#goal = Infinity;
    });
    return this.#running;
  }

  /** Lets go of what the retention rules and the grace of orphans do not keep. */
  async tidy(each: (gone: Evicted) => void = () => {}, hand = this.#options.hand): Promise<void> {
    await this.#options.settle();
    await hand.orphans(...this.#orphansOutside());
    await take(this.#options.candidates.expired(), hand, each);
  }

  /** Lets go of the images that `pattern` names. */
  async remove(pattern: Pattern, each: (gone: Evicted) => void, hand = this.#options.hand): Promise<void> {
    await take(this.#options.candidates.matching(pattern), hand, each);
  }

  /** What {@link makeRoom} would let go of, as `hand` counts it. */
  async rehearse(goal: number, each: (gone: Evicted) => void, hand: Remover): Promise<void> {
    await this.#options.settle();
    let { bytes } = await this.#options.inventory.totals();
    bytes -= await hand.orphans(...this.#orphansOutside());
    for await (const going of this.#options.candidates.leastUsed()) {
      if (bytes <= goal) return;
      const freed = await hand.image(going.image, going.reason);
      bytes -= freed;
      each({ ...going, bytes: freed });
    }
  }

  async #makeRoom(each: (gone: Evicted) => void): Promise<void> {
    const { candidates, hand, settle, now } = this.#options;
    if (now() < this.#fruitlessUntil || (await this.#excess()) <= 0) return;
    await settle();
    await hand.orphans(...this.#orphansOutside(), await this.#excess());
    if ((await this.#excess()) <= 0) return;
    for await (const going of candidates.leastUsed()) {
      each({ ...going, bytes: await hand.image(going.image, going.reason) });
      if ((await this.#excess()) <= 0) return;
    }
    this.#fruitlessUntil = now() + pauseMs;
  }

  async #excess(): Promise<number> {
    return (await this.#options.inventory.totals()).bytes - this.#goal;
  }

  /** Within these times an orphan may still be waited for; those after the second come from a clock that was ahead. */
  #orphansOutside(): [before: number, ahead: number] {
    const { now, graceMs } = this.#options;
    return [now() - graceMs, now() + graceMs];
  }
}

async function take(
  images: AsyncIterable<EvictionCandidate>,
  hand: Remover,
  each: (gone: Evicted) => void,
): Promise<void> {
  for await (const going of images) each({ ...going, bytes: await hand.image(going.image, going.reason) });
}
