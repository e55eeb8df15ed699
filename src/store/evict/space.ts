/** Space on the disk: how many bytes may be held, and how many of them are reserved for fills. */

/** How full the cache may be, in bytes. */
export interface CapacityMarks {
  /** More is never held and reserved. */
  readonly capacity: number;
  /** Above this, eviction begins. */
  readonly high: number;
  /** Here it ends. */
  readonly low: number;
}

/** Bytes that are kept free for one fill. */
export interface SpaceReservation {
  /** The fill's blob is held, and counted as such, or the fill has failed. */
  release(): void;
}

export interface SpaceOptions {
  readonly marks: CapacityMarks;
  /** Bytes that are held now. */
  readonly held: () => Promise<number>;
  /** Bytes of fills that an earlier process did not finish and no fill has resumed. */
  readonly leftovers: () => number;
  /** Evicts until at most `goal` bytes are held, or nothing more may be evicted. */
  readonly makeSpace: (goal: number) => Promise<void>;
}

/** A fill that waits for an eviction. */
interface Waiter {
  readonly size: number;
  /** Its size without its leftover, in bytes. */
  readonly need: number;
  readonly settle: (reservation: SpaceReservation | undefined) => void;
}

export class DiskSpace {
  readonly #options: SpaceOptions;
  #reserved = 0;
  readonly #waiting = new Set<Waiter>();

  constructor(options: SpaceOptions) {
    this.#options = options;
  }

  /**
   * Reserves space for a blob of `size` bytes, evicting others if it must; undefined when there is none. `kept` bytes of the blob
   * are on disk already, as a leftover.
   */
  async reserve(size: number, kept = 0): Promise<SpaceReservation | undefined> {
    if (size > this.#options.marks.capacity) return undefined;
    // A leftover is counted as such until the fill resumes it.
    const need = size - kept;
    const held = await this.#options.held();
    // No await between the check and the reservation, here and below.
    if (this.#waiting.size === 0 && this.#isFree(held, need)) return this.#grant(size);
    const { promise, resolve: settle, reject } = Promise.withResolvers<SpaceReservation | undefined>();
    const waiter = { size, need, settle };
    this.#waiting.add(waiter);
    this.#makeSpace()
      .then(() => this.#end(waiter), reject)
      .catch(reject)
      .finally(() => this.#waiting.delete(waiter));
    return promise;
  }

  /** Bytes were freed: serves those who wait as far as there is enough, first come, first served. */
  async freed(): Promise<void> {
    for (const first of this.#waiting) {
      const held = await this.#options.held();
      // Another call may have served it meanwhile.
      if (!this.#waiting.has(first)) continue;
      if (!this.#isFree(held, first.need)) return;
      this.#serve(first);
    }
  }

  /** Bytes that can still come in before anything is evicted. */
  async headroom(): Promise<number> {
    const { marks, held } = this.#options;
    return Math.max(0, marks.high - (await held()) - this.#reserved);
  }

  /** Evicts down to the low mark when more than the high one is held and reserved. */
  async trim(): Promise<void> {
    const { marks, held, makeSpace } = this.#options;
    if ((await held()) + this.#taken > marks.high) await makeSpace(marks.low - this.#taken);
  }

  /** Bytes that are neither held nor free. */
  get #taken(): number {
    return this.#reserved + this.#options.leftovers();
  }

  #isFree(held: number, bytes: number): boolean {
    return held + this.#taken + bytes <= this.#options.marks.capacity;
  }

  /** Evicts until there is enough for all who wait, and at least down to the low mark. */
  async #makeSpace(): Promise<void> {
    const { marks, makeSpace } = this.#options;
    const need = this.#waiting.values().reduce((sum, waiter) => sum + waiter.need, 0);
    await makeSpace(Math.min(marks.low, marks.capacity - this.#taken - need));
  }

  /** The eviction for `waiter` is over: serves or refuses it. */
  async #end(waiter: Waiter): Promise<void> {
    const held = await this.#options.held();
    if (!this.#waiting.has(waiter)) return;
    if (this.#isFree(held, waiter.need)) this.#serve(waiter);
    else waiter.settle(undefined);
  }

  #serve(waiter: Waiter): void {
    this.#waiting.delete(waiter);
    waiter.settle(this.#grant(waiter.size));
  }

  #grant(size: number): SpaceReservation {
    this.#reserved += size;
    let released = false;
    return {
      release: () => {
        if (released) return;
        released = true;
        this.#reserved -= size;
        // Who waits hears of errors from the eviction it waits for.
        this.freed().catch(() => {});
      },
    };
  }
}
