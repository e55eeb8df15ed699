/** Room on the disk: how many bytes may be held, and the part of them that is promised to fills. */

/** How full the cache may be, in bytes. */
export interface Marks {
  /** More is never promised. */
  readonly capacity: number;
  /** Above this, eviction begins. */
  readonly high: number;
  /** And it ends here. */
  readonly low: number;
}

/** Bytes that are kept free for one fill. */
export interface Reservation {
  /** Gives them back: the fill is held, and counted as such, or has failed. */
  release(): void;
}

export interface RoomOptions {
  readonly marks: Marks;
  /** Bytes that are held now. */
  readonly held: () => Promise<number>;
  /** Lets go of content until no more than `goal` bytes are held, as far as it may. */
  readonly makeRoom: (goal: number) => Promise<void>;
}

export class Room {
  readonly #options: RoomOptions;
  #promised = 0;

  constructor(options: RoomOptions) {
    this.#options = options;
  }

  /** Room for a blob of `bytes` bytes, for which others may have to go; undefined when there is none to be had. */
  async reserve(bytes: number): Promise<Reservation | undefined> {
    const { marks, held, makeRoom } = this.#options;
    if (bytes > marks.capacity) return undefined;
    if ((await held()) + this.#promised + bytes > marks.capacity) {
      await makeRoom(Math.min(marks.low, marks.capacity - this.#promised - bytes));
    }
    // Nothing may come between these two: others reserve as well.
    const before = await held();
    if (before + this.#promised + bytes > marks.capacity) return undefined;
    this.#promised += bytes;
    let released = false;
    return {
      release: () => {
        if (!released) this.#promised -= bytes;
        released = true;
      },
    };
  }

  /** Makes room down to the low water mark when what is held and promised stands above the high one. */
  async ebb(): Promise<void> {
    const { marks, held, makeRoom } = this.#options;
    if ((await held()) + this.#promised > marks.high) await makeRoom(marks.low - this.#promised);
  }
}
