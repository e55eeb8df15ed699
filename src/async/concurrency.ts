/** What runs at once: one for all who want the same, so many of many, or the most urgent first. The only file that imports Bottleneck. */
import Bottleneck from "bottleneck";

/** The running flights, by key. A key is free again before its callers get the result. */
export class SingleFlight<V> {
  readonly #running = new Map<string, Promise<V>>();

  /**
   * The result of the running flight of `key`, or of `start` when there is none.
   * @throws the reason of `signal` when it is aborted first.
   */
  join(key: string, start: () => Promise<V>, signal?: AbortSignal): Promise<V> {
    const run = this.#running.getOrInsertComputed(key, () =>
      Promise.try(start).finally(() => this.#running.delete(key)),
    );
    return signal ? unlessAborted(run, signal) : run;
  }

  has(key: string): boolean {
    return this.#running.has(key);
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

  /** Takes the next one of the addresses that `mayGo` lets go; undefined when there is none. */
  next(mayGo: (address: string) => boolean = () => true): T | undefined {
    for (const [address, payers] of this.#addresses) {
      if (!mayGo(address)) continue;
      for (const [payer, items] of payers) {
        for (const item of items) {
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

/** The reservoir of an unlimited queue: Bottleneck has no value for "unlimited". */
const plenty = 1_000_000_000;

/** How far the wall clock may go back before the limiter is replaced. */
const clockSlackMs = 1000;

export interface PriorityQueueOptions {
  /** How many may run at once; null for any number. */
  readonly maxConcurrent: number | null;
  /** Milliseconds between two starts. */
  readonly minTime: number;
  /** Ms since the epoch, by the wall clock. */
  readonly now: () => number;
}

/** One Bottleneck limiter, whose reservoir is set from outside and never refilled by Bottleneck itself. */
export class PriorityQueue {
  readonly #options: PriorityQueueOptions;
  readonly #tokens: () => number;
  #limiter: Bottleneck;
  /** The limiter's reservoir after all changes that were requested. */
  #level = 0;
  #latest: number;
  /** What waits, by priority. */
  readonly #turns = new Map<number, Turns<() => void>>();
  #waiting = 0;
  #running = 0;

  /** `tokens` says how many may begin now. */
  constructor(options: PriorityQueueOptions, tokens: () => number) {
    this.#options = options;
    this.#latest = options.now();
    this.#tokens = tokens;
    this.#limiter = this.#newLimiter();
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** Sets the reservoir, by a difference, since jobs may take from it before Bottleneck applies it. */
  fill(): void {
    const difference = Math.min(this.#free, plenty) - this.#level;
    if (difference === 0) return;
    this.#level += difference;
    void this.#limiter.incrementReservoir(difference);
  }

  /**
   * Waits for a turn among those of its priority, whose parties are served in turn. It lasts until the returned function is called. `begin` runs as it begins, and makes the tokens fewer.
   * @throws the signal's reason.
   */
  async turn(priority: number, party: Party, signal: AbortSignal, begin: () => void): Promise<() => void> {
    signal.throwIfAborted();
    this.#withstandClock();
    // Bottleneck takes milliseconds even if there is nothing to wait for.
    if (this.#waiting === 0 && this.#options.minTime === 0 && this.#free >= 1) return this.#begin(begin);
    this.fill();
    const { promise, resolve, reject } = Promise.withResolvers<() => void>();
    const leave = (): void => reject(signal.reason);
    const turns = this.#turns.getOrInsertComputed(priority, () => new Turns());
    const start = (): void => {
      try {
        resolve(this.#begin(begin));
      } catch (error) {
        reject(error);
      }
    };
    signal.addEventListener("abort", leave, { once: true });
    turns.add(party, start);
    this.#waiting += 1;
    this.#limiter
      .schedule({ priority }, async () => {
        this.#level -= 1;
        // Each job starts whoever is next. Bottleneck cannot remove a job: there are more of them once one has left.
        const next = turns.next();
        if (next) next();
        else this.fill();
      })
      .catch(reject);
    try {
      return await promise;
    } finally {
      turns.remove(party, start);
      this.#waiting -= 1;
      signal.removeEventListener("abort", leave);
    }
  }

  /** How many turns may begin now. */
  get #free(): number {
    return Math.min(this.#tokens(), (this.#options.maxConcurrent ?? plenty) - this.#running);
  }

  #begin(begin: () => void): () => void {
    begin();
    this.#running += 1;
    return () => {
      this.#running -= 1;
      this.fill();
    };
  }

  /** Counts running ones itself, since Bottleneck has not seen those that did not have to wait. */
  #newLimiter(): Bottleneck {
    const { minTime } = this.#options;
    // One by one if they are spaced: Bottleneck orders by priority only what it has not scheduled yet.
    return new Bottleneck({ minTime, maxConcurrent: minTime > 0 ? 1 : null, reservoir: 0 });
  }

  /** Bottleneck schedules by the wall clock: set back an hour, it would hold everything for an hour. */
  #withstandClock(): void {
    const now = this.#options.now();
    if (now < this.#latest - clockSlackMs) {
      this.#limiter = this.#newLimiter();
      this.#level = 0;
    }
    this.#latest = now;
  }
}
