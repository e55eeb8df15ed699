/** Room on the disk: how many bytes may be held, and the part of them that is promised to fills. */

/** How full the cache may be, in bytes. */
export interface CapacityMarks {
  /** More is never promised. */
  readonly capacity: number;
  /** Above this, eviction begins. */
  readonly high: number;
  /** And it ends here. */
  readonly low: number;
}

/** Bytes that are kept free for one fill. */
export interface RoomReservation {
  /** Gives them back: the fill is held, and counted as such, or has failed. */
  release(): void;
}

export interface RoomOptions {
  readonly marks: CapacityMarks;
  /** Bytes that are held now. */
  readonly held: () => Promise<number>;
  /** Bytes of blobs that an earlier process had begun, and that wait to be gone on with. */
  readonly leftovers: () => number;
  /** Lets go of content until no more than `goal` bytes are held, as far as it may. */
  readonly makeRoom: (goal: number) => Promise<void>;
}

/** A fill that waits until others have gone. */
interface Waiter {
  readonly size: number;
  /** Its size without what is counted already, in bytes. */
  readonly need: number;
  readonly settle: (reservation: RoomReservation | undefined) => void;
}

export class Room {
  readonly #options: RoomOptions;
  #promised = 0;
  readonly #waiting = new Set<Waiter>();

  constructor(options: RoomOptions) {
    this.#options = options;
  }

  /**
   * Room for a blob of `size` bytes, for which others may have to go; undefined when there is none to be had. `kept` of
   * them are here already, as a leftover.
   */
  async reserve(size: number, kept = 0): Promise<RoomReservation | undefined> {
    if (size > this.#options.marks.capacity) return undefined;
    // What a leftover takes is counted as such until the fill goes on with it, and not twice.
    const need = size - kept;
    const held = await this.#options.held();
    // Nothing may come between these two, here and below: others reserve as well.
    if (this.#waiting.size === 0 && this.#isFree(held, need)) return this.#promise(size);
    const { promise, resolve: settle, reject } = Promise.withResolvers<RoomReservation | undefined>();
    const waiter = { size, need, settle };
    this.#waiting.add(waiter);
    this.#makeRoom()
      .then(() => this.#end(waiter), reject)
      .catch(reject)
      .finally(() => this.#waiting.delete(waiter));
    return promise;
  }

  /** Bytes have come free. Those who wait go on as soon as there is enough for them, in the order in which they came. */
  async freed(): Promise<void> {
    for (const first of this.#waiting) {
      const held = await this.#options.held();
      // Another call may have served it meanwhile.
      if (!this.#waiting.has(first)) continue;
      if (!this.#isFree(held, first.need)) return;
      this.#serve(first);
    }
  }

  /** Bytes that can still come in before anything has to go. */
  async headroom(): Promise<number> {
    const { marks, held } = this.#options;
    return Math.max(0, marks.high - (await held()) - this.#promised);
  }

  /** Makes room down to the low water mark when what is held and promised stands above the high one. */
  async ebb(): Promise<void> {
    const { marks, held, makeRoom } = this.#options;
    if ((await held()) + this.#taken > marks.high) await makeRoom(marks.low - this.#taken);
  }

  /** Bytes that are not held, but not free either. */
  get #taken(): number {
    return this.#promised + this.#options.leftovers();
  }

  #isFree(held: number, bytes: number): boolean {
    return held + this.#taken + bytes <= this.#options.marks.capacity;
  }

  /** A pass that ends when there is enough for all who wait, and not above the low water mark. */
  async #makeRoom(): Promise<void> {
    const { marks, makeRoom } = this.#options;
    const need = this.#waiting.values().reduce((sum, waiter) => sum + waiter.need, 0);
    await makeRoom(Math.min(marks.low, marks.capacity - this.#taken - need));
  }

  /** No more will come free for `waiter` now; there may be enough for it all the same. */
  async #end(waiter: Waiter): Promise<void> {
    const held = await this.#options.held();
    if (!this.#waiting.has(waiter)) return;
    if (this.#isFree(held, waiter.need)) this.#serve(waiter);
    else waiter.settle(undefined);
  }

  #serve(waiter: Waiter): void {
    this.#waiting.delete(waiter);
    waiter.settle(this.#promise(waiter.size));
  }

  #promise(size: number): RoomReservation {
    this.#promised += size;
    let released = false;
    return {
      release: () => {
        if (released) return;
        released = true;
        this.#promised -= size;
        // Those who wait have a pass of their own to tell them what goes wrong.
        this.freed().catch(() => {});
      },
    };
  }
}
