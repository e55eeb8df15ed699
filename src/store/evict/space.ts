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

/** Bytes that are kept free for one fill. */
export interface SpaceReservation {
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
}

/** A fill that waits for an eviction. */
interface Waiter {
  readonly size: number;
  /** Its size without its leftover, in bytes. */
  readonly need: number;
  readonly claim: Claim;
  readonly settle: (reservation: SpaceReservation | undefined) => void;
}

export class DiskSpace {
  readonly #options: SpaceOptions;
  #reserved = 0;
  #unnamed = 0;
  readonly #byAddress = new Map<string, number>();
  readonly #waiting = new Set<Waiter>();

  constructor(options: SpaceOptions) {
    this.#options = options;
  }

  /**
   * Reserves space for a blob of `size` bytes, evicting others if it must; undefined when there is none. `kept` bytes of the blob
   * are on disk already, as a leftover. For a blob that is not named nothing is evicted.
   */
  reserve(size: number, kept?: number): Promise<SpaceReservation | undefined>;
  reserve(size: number, kept: number, claim: Claim): Promise<SpaceReservation | SpaceRefusal | undefined>;
  async reserve(
    size: number,
    kept = 0,
    claim: Claim = { isNamed: true },
  ): Promise<SpaceReservation | SpaceRefusal | undefined> {
    const { marks, unnamed } = this.#options;
    if (size > marks.capacity) return undefined;
    const running = this.#byAddress.get(claim.address ?? "") ?? 0;
    if (running > 0 && running + size > marks.capacity * addressShare) return "client";
    // A leftover is counted as such until the fill resumes it.
    const need = size - kept;
    const [held, orphans] = await Promise.all([this.#options.held(), claim.isNamed ? 0 : unnamed()]);
    // No await between the check and the reservation, here and below.
    if (!claim.isNamed) {
      const isEnough = orphans + this.#unnamed + size > marks.capacity * unnamedShare;
      return isEnough || !this.#isFree(held, need) ? "unnamed" : this.#grant(size, claim);
    }
    if (this.#waiting.size === 0 && this.#isFree(held, need)) return this.#grant(size, claim);
    const { promise, resolve: settle, reject } = Promise.withResolvers<SpaceReservation | undefined>();
    const waiter = { size, need, claim, settle };
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
    waiter.settle(this.#grant(waiter.size, waiter.claim));
  }

  #grant(size: number, { isNamed, address }: Claim): SpaceReservation {
    const reserve = (bytes: number): void => {
      this.#reserved += bytes;
      if (!isNamed) this.#unnamed += bytes;
      if (address === undefined) return;
      const running = (this.#byAddress.get(address) ?? 0) + bytes;
      if (running > 0) this.#byAddress.set(address, running);
      else this.#byAddress.delete(address);
    };
    reserve(size);
    let released = false;
    return {
      release: () => {
        if (released) return;
        released = true;
        reserve(-size);
        // Who waits hears of errors from the eviction it waits for.
        this.freed().catch(() => {});
      },
    };
  }
}
