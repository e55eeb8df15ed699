/** What runs at once: one for all who want the same, so many of many, or the most urgent first. The only file that imports Bottleneck. */
import Bottleneck from "bottleneck";
import type { Clock } from "./clock.ts";

interface Flight<V> {
  readonly run: Promise<V>;
  readonly parties: Parties;
}

/** The running flights, by key. A key is free again before its callers get the result. */
export class SingleFlight<V> {
  readonly #running = new Map<string, Flight<V>>();

  /**
   * The result of the running flight of `key`, or of `start` when there is none. What waits for its turn on the way waits with all
   * parties that have joined.
   * @throws the reason of `signal` when it is aborted first.
   */
  join(
    key: string,
    start: (parties: Parties) => Promise<V>,
    signal?: AbortSignal,
    party?: Party,
  ): Promise<V> {
    const { run, parties } = this.#running.getOrInsertComputed(key, () => {
      const all = new Parties();
      return {
        run: Promise.try(() => start(all)).finally(() => this.#running.delete(key)),
        parties: all,
      };
    });
    if (party) parties.add(party);
    return signal ? unlessAborted(run, signal) : run;
  }

  has(key: string): boolean {
    return this.#running.has(key);
  }

  /** The flight of `key`, if one runs, waits with `party` too, which has to wait for it. */
  hurry(key: string, { address, payer }: Party): void {
    this.#running.get(key)?.parties.add({ address, payer, isBehind: true });
  }
}

/** `run`, or the reason of `signal` thrown when it is aborted first. */
export function unlessAborted<V>(run: Promise<V>, signal: AbortSignal): Promise<V> {
  const { promise, resolve, reject } = Promise.withResolvers<V>();
  const leave = (): void => reject(signal.reason);
  if (signal.aborted) leave();
  signal.addEventListener("abort", leave, { once: true });
  run.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
  return promise;
}

export class Semaphore {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(most: number) {
    this.#free = most;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Runs `work` as soon as a slot is free. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}

/** Who waits: an address, which is not the client's own word, and whose limits it counts in. */
export interface Party {
  readonly address?: string | undefined;
  readonly payer: string;
  /** Who waits for the same. */
  readonly joined?: Parties;
  /** It wants something else, which has to wait for this. */
  readonly isBehind?: boolean;
}

/** All who wait for the same: more may join at any time. */
export class Parties {
  readonly #all: Party[] = [];
  readonly #listeners = new Set<(party: Party) => void>();

  add(party: Party): void {
    this.#all.push(party);
    for (const listener of this.#listeners) listener(party);
  }

  /** Calls `listener` with each party, and with those that join until the returned function is called. */
  follow(listener: (party: Party) => void): () => void {
    for (const party of this.#all) listener(party);
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}

/** What waits: addresses are served in turn, the payers of one address in turn, and what one payer asks for in order. */
export class Turns<T> {
  readonly #addresses = new Map<string, Map<string, Set<T>>>();

  add({ address = "", payer }: Party, item: T): void {
    this.#addresses
      .getOrInsertComputed(address, () => new Map())
      .getOrInsertComputed(payer, () => new Set())
      .add(item);
  }

  remove({ address = "", payer }: Party, item: T): void {
    const payers = this.#addresses.get(address);
    const items = payers?.get(payer);
    items?.delete(item);
    if (items?.size === 0) payers?.delete(payer);
    if (payers?.size === 0) this.#addresses.delete(address);
  }

  /** Takes the next one of the addresses that `mayGo` lets go; undefined when there is none, or it is not ready. */
  next(
    mayGo: (address: string) => boolean = () => true,
    isReady: (item: T) => boolean = () => true,
  ): T | undefined {
    for (const [address, payers] of this.#addresses) {
      if (!mayGo(address)) continue;
      for (const [payer, items] of payers) {
        for (const item of items) {
          if (!isReady(item)) return undefined;
          // Behind all others, if it has more.
          this.#addresses.delete(address);
          this.#addresses.set(address, payers);
          payers.delete(payer);
          payers.set(payer, items);
          this.remove({ address, payer }, item);
          return item;
        }
      }
    }
    return undefined;
  }
}

/**
 * Puts what `itemOf` makes into `turns` for `party` and for all who have joined it, so that it waits for none of them longer than for the
 * others. Calls `joined` when another has come later. The returned function takes it out.
 */
export function lineUp<T>(
  turns: Turns<T>,
  party: Party,
  itemOf: (party: Party) => T,
  joined: () => void,
): () => void {
  const items = new Map<string, readonly [Party, T]>();
  const stops: (() => void)[] = [];
  let isIn = false;
  const add = (one: Party): void => {
    const { address = "" } = one;
    if (!items.has(address)) {
      const item = itemOf(one);
      items.set(address, [one, item]);
      turns.add(one, item);
      if (isIn) joined();
    }
    if (one.joined) stops.push(one.joined.follow(add));
  };
  add(party);
  isIn = true;
  return () => {
    for (const stop of stops) stop();
    for (const [one, item] of items.values()) turns.remove(one, item);
  };
}

/** So much of all places is for addresses that hold less than {@link few}. */
const keptShare = 1 / 3;

/** What a node takes at once for one image. */
const few = 3;

/** A number of places, such as connections. The last ones are for addresses that hold few, so that no address holds all. */
export class Places {
  readonly #most: number;
  readonly #takenBy = new Map<string, number>();
  #taken = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get taken(): number {
    return this.#taken;
  }

  /** Hubcap's own work, which has no address, may take all. */
  mayTake(address: string): boolean {
    const hasFew = address === "" || (this.#takenBy.get(address) ?? 0) < few;
    return this.#taken < (hasFew ? this.#most : this.#most * (1 - keptShare));
  }

  /** The returned function, called once, frees the place. */
  take(address: string): () => void {
    this.#taken += 1;
    this.#takenBy.set(address, (this.#takenBy.get(address) ?? 0) + 1);
    return () => {
      this.#taken -= 1;
      const left = (this.#takenBy.get(address) ?? 0) - 1;
      if (left > 0) this.#takenBy.set(address, left);
      else this.#takenBy.delete(address);
    };
  }
}

export interface PriorityQueueOptions {
  /** How many turns may last at once: see {@link Places}. */
  readonly most: number;
  /** Milliseconds between two starts. */
  readonly minTime: number;
  /** May turns of this address and priority begin now? Where that changes with time, {@link PriorityQueue.advance} is to be called. */
  readonly mayBegin?: (address: string, priority: number) => boolean;
  readonly clock: Pick<Clock, "now" | "elapsed">;
}

interface Waiting {
  readonly start: () => void;
  readonly isReady: () => boolean;
}

/** How far the wall clock may go back before the limiter is replaced. */
const clockSlackMs = 1000;

/** Turns by priority, the lowest number first; those of one priority go by {@link Turns}. Bottleneck spaces their starts. */
export class PriorityQueue {
  readonly #options: PriorityQueueOptions;
  readonly #places: Places;
  /** What waits, by priority. */
  readonly #turns: Turns<Waiting>[] = [];
  #waiting = 0;
  #spacing: Bottleneck;
  /** Does the next start wait in {@link #spacing}? */
  #isPlanned = false;
  #plannedAt = 0;
  /** When the next turn may begin, by the clock's `elapsed()`. */
  #nextAt = 0;

  constructor(options: PriorityQueueOptions) {
    this.#options = options;
    this.#places = new Places(options.most);
    this.#spacing = new Bottleneck({ minTime: options.minTime });
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** How many ms the time between two starts makes who comes now wait. */
  get waitMs(): number {
    const { minTime, clock } = this.#options;
    return Math.max(0, this.#nextAt - clock.elapsed()) + this.#waiting * minTime;
  }

  /** Begins all turns that may begin now. */
  advance(): void {
    // Bottleneck takes milliseconds even if there is nothing to wait for.
    if (this.#options.minTime === 0) while (this.#beginNext());
    else if (this.#waiting > 0 && !this.#isPlanned) this.#plan();
  }

  /**
   * Waits for a turn, which lasts until the returned function is called. `begin` runs as it begins, with the one whose turn it is. While
   * it is not ready, none that comes after it begins either.
   * @throws the signal's reason, and what `begin` throws.
   */
  async turn(
    priority: number,
    party: Party,
    signal: AbortSignal,
    begin: (party: Party) => void,
    isReady = (): boolean => true,
  ): Promise<() => void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<() => void>();
    const turns = (this.#turns[priority] ??= new Turns());
    const start = (whose: Party): void => {
      over();
      const free = this.#places.take(whose.address ?? "");
      const end = (): void => {
        free();
        this.advance();
      };
      try {
        begin(whose);
        resolve(end);
      } catch (error) {
        free();
        reject(error);
      }
    };
    const itemOf = (whose: Party): Waiting => ({ start: () => start(whose), isReady });
    const leave = lineUp(turns, party, itemOf, () => this.advance());
    const aborted = (): void => {
      over();
      reject(signal.reason);
    };
    const over = (): void => {
      leave();
      this.#waiting -= 1;
      signal.removeEventListener("abort", aborted);
    };
    signal.addEventListener("abort", aborted, { once: true });
    this.#waiting += 1;
    this.advance();
    return promise;
  }

  #plan(): void {
    const { minTime, clock } = this.#options;
    const now = clock.now();
    // Bottleneck goes by the wall clock: set back an hour, it would wait for an hour.
    if (now < this.#plannedAt - clockSlackMs) this.#spacing = new Bottleneck({ minTime });
    this.#plannedAt = now;
    this.#isPlanned = true;
    void this.#spacing.schedule(async () => {
      this.#isPlanned = false;
      if (!this.#beginNext()) return;
      this.#nextAt = clock.elapsed() + minTime;
      this.advance();
    });
  }

  #beginNext(): boolean {
    const { mayBegin = () => true } = this.#options;
    let isStopped = false;
    const isReady = (turn: Waiting): boolean => !(isStopped = !turn.isReady());
    for (const [priority, turns] of this.#turns.entries()) {
      const mayGo = (address: string): boolean =>
        this.#places.mayTake(address) && mayBegin(address, priority);
      const next = turns?.next(mayGo, isReady);
      next?.start();
      if (next) return true;
      if (isStopped) return false;
    }
    return false;
  }
}
