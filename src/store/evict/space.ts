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

/** What speaks for a blob that is to come in. */
export interface Claim {
  /** A manifest that is held names it. */
  readonly isNamed: boolean;
  /** The address of the client that wants it; absent for Hubcap's own. */
  readonly address?: string | undefined;
}

/** Why there is no space for a blob though there may be for others: blobs that no manifest names, or this client's, have enough. */
export type SpaceRefusal = "unnamed" | "client";

/** The share of the capacity that blobs may have which no held manifest names. */
const unnamedShare = 1 / 20;

/** The share of the capacity that the running fills of one address may reserve; one fill is let in whatever its size. */
const addressShare = 1 / 2;

/**
 * How far ahead of what has come space is made for a fill, in bytes: nothing is evicted for a size that an upstream only claims.
 */
const ahead = 64 * 1024 * 1024;

/** Bytes that are kept free for one fill. */
export interface SpaceReservation {
  /** Makes space for the first `bytes` of the blob, and some more; false when nothing may be evicted for it any more. */
  make(bytes: number): Promise<boolean>;
  /** The fill's blob is held, and counted as such, or the fill has failed. */
  release(): void;
}

export interface SpaceOptions {
  readonly marks: CapacityMarks;
  /** Bytes that are held now. */
  readonly held: () => Promise<number>;
  /** Bytes that are held though no held manifest names them. */
  readonly unnamed: () => Promise<number>;
  /** Bytes of fills that an earlier process did not finish and no fill has resumed. */
  readonly leftovers: () => number;
  /** Evicts until at most `goal` bytes are held, or nothing more may be evicted. */
  readonly makeSpace: (goal: number) => Promise<void>;
  /** Whether so many bytes may be evicted. */
  readonly mayFree: (bytes: number) => Promise<boolean>;
}

/** A fill that waits for an eviction. */
interface Waiter {
  readonly bytes: number;
  /** The same without its leftover. */
  readonly need: number;
  readonly settle: (isMade: boolean) => void;
}

export class DiskSpace {
  readonly #options: SpaceOptions;
  /** Bytes of all blobs on their way in. */
  #promised = 0;
  /** Those of them that space is made for. */
  #made = 0;
  #unnamed = 0;
  readonly #byAddress = new Map<string, number>();
  readonly #waiting = new Set<Waiter>();

  constructor(options: SpaceOptions) {
    this.#options = options;
  }

  /**
   * Reserves space for a blob of `size` bytes and makes the first of it; undefined when there is none, whatever may be evicted.
   * `kept` bytes of the blob are on disk already, as a leftover. For a blob that is not named nothing is evicted.
   */
  reserve(size: number, kept?: number): Promise<SpaceReservation | undefined>;
  reserve(size: number, kept: number, claim: Claim): Promise<SpaceReservation | SpaceRefusal | undefined>;
  async reserve(
    size: number,
    kept = 0,
    claim: Claim = { isNamed: true },
  ): Promise<SpaceReservation | SpaceRefusal | undefined> {
    const { marks, unnamed, mayFree } = this.#options;
    if (size > marks.capacity) return undefined;
    for (let foundFree = 0; ;) {
      // A leftover is counted as such until the fill resumes it.
      const lacks = this.lacking(size - kept);
      const [lacking, orphans] = await Promise.all([lacks, claim.isNamed ? 0 : unnamed()]);
      // No await between the checks and the reservation.
      const running = this.#byAddress.get(claim.address ?? "") ?? 0;
      if (running > 0 && running + size > marks.capacity * addressShare) return "client";
      if (!claim.isNamed) {
        const isEnough = orphans + this.#unnamed + size > marks.capacity * unnamedShare;
        if (isEnough || lacking > 0) return "unnamed";
      }
      // More may have been promised to others meanwhile.
      if (lacking <= foundFree) break;
      if (!(await mayFree(lacking))) return undefined;
      foundFree = lacking;
    }
    const reservation = this.#reserve(size, kept, claim);
    const isMade = await reservation.make(Math.min(size, kept + 1)).catch((error: unknown) => {
      reservation.release();
      throw error;
    });
    if (isMade) return reservation;
    reservation.release();
    return undefined;
  }

  /** How many bytes have to be evicted until all that is on its way in has space, and `more` bytes; at most 0 when none have to. */
  async lacking(more: number): Promise<number> {
    const held = await this.#options.held();
    return held + this.#options.leftovers() + this.#promised + more - this.#options.marks.capacity;
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
    return Math.max(0, marks.high - (await held()) - this.#promised);
  }

  /** Evicts down to the low mark when more than the high one is held and reserved. */
  async trim(): Promise<void> {
    const { marks, held, makeSpace } = this.#options;
    if ((await held()) + this.#taken > marks.high) await makeSpace(marks.low - this.#taken);
  }

  /** Bytes that are neither held nor free. */
  get #taken(): number {
    return this.#made + this.#options.leftovers();
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
    else waiter.settle(false);
  }

  #serve(waiter: Waiter): void {
    this.#waiting.delete(waiter);
    this.#made += waiter.bytes;
    waiter.settle(true);
  }

  /** Makes space for `bytes` more, of which `need` are not on disk yet. */
  async #make(bytes: number, need: number): Promise<boolean> {
    const held = await this.#options.held();
    if (this.#waiting.size === 0 && this.#isFree(held, need)) {
      this.#made += bytes;
      return true;
    }
    const { promise, resolve: settle, reject } = Promise.withResolvers<boolean>();
    const waiter = { bytes, need, settle };
    this.#waiting.add(waiter);
    this.#makeSpace()
      .then(() => this.#end(waiter), reject)
      .catch(reject)
      .finally(() => this.#waiting.delete(waiter));
    return promise;
  }

  #reserve(size: number, kept: number, { isNamed, address }: Claim): SpaceReservation {
    const promise = (bytes: number): void => {
      this.#promised += bytes;
      if (!isNamed) this.#unnamed += bytes;
      if (address === undefined) return;
      const running = (this.#byAddress.get(address) ?? 0) + bytes;
      if (running > 0) this.#byAddress.set(address, running);
      else this.#byAddress.delete(address);
    };
    promise(size);
    // What nothing is evicted for has its space at once, or could lose it.
    let made = isNamed ? 0 : size;
    this.#made += made;
    let released = false;
    return {
      make: async (bytes) => {
        if (bytes <= made) return true;
        const more = Math.min(size, bytes + ahead) - made;
        if (!(await this.#make(more, made === 0 ? more - kept : more))) return false;
        made += more;
        return true;
      },
      release: () => {
        if (released) return;
        released = true;
        promise(-size);
        this.#made -= made;
        // Who waits hears of errors from the eviction it waits for.
        this.freed().catch(() => {});
      },
    };
  }
}
