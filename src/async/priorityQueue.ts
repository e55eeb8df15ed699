/** A queue by priority, with a bounded concurrency and rate. The only file that imports Bottleneck. */
import Bottleneck from "bottleneck";

/** The reservoir of an unlimited queue: Bottleneck has no value for "unlimited". */
const plenty = 1_000_000_000;

/** How far the wall clock may go back before the limiter is replaced. */
const clockSlackMs = 1000;

export interface PriorityQueueOptions {
  /** How many may run at once; null for any number. */
  readonly maxConcurrent: number | null;
  /** Milliseconds between two starts. */
  readonly minTime: number;
}

/** One Bottleneck limiter, whose reservoir is set from outside and never refilled by Bottleneck itself. */
export class PriorityQueue {
  readonly #options: PriorityQueueOptions;
  readonly #tokens: () => number;
  #limiter: Bottleneck;
  /** The limiter's reservoir after all changes that were requested. */
  #level = 0;
  #latest = Date.now();
  #waiting = 0;
  #running = 0;

  /** `tokens` says how many may begin now. */
  constructor(options: PriorityQueueOptions, tokens: () => number) {
    this.#options = options;
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
   * Waits for a turn, which lasts until the returned function is called. `begin` runs as it begins, and makes the tokens fewer.
   * @throws the signal's reason.
   */
  async turn(priority: number, signal: AbortSignal, begin: () => void): Promise<() => void> {
    signal.throwIfAborted();
    this.#withstandClock();
    // Bottleneck takes milliseconds even if there is nothing to wait for.
    if (this.#waiting === 0 && this.#options.minTime === 0 && this.#free >= 1) return this.#begin(begin);
    this.fill();
    const { promise, resolve, reject } = Promise.withResolvers<() => void>();
    const leave = (): void => reject(signal.reason);
    signal.addEventListener("abort", leave, { once: true });
    this.#waiting += 1;
    this.#limiter
      .schedule({ priority }, async () => {
        this.#level -= 1;
        // Bottleneck cannot remove a queued job: one that was aborted ends at once when its turn comes.
        if (signal.aborted) return this.fill();
        resolve(this.#begin(begin));
      })
      .catch(reject);
    try {
      return await promise;
    } finally {
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
    const now = Date.now();
    if (now < this.#latest - clockSlackMs) {
      this.#limiter = this.#newLimiter();
      this.#level = 0;
    }
    this.#latest = now;
  }
}
