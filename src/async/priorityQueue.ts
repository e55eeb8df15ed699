/** A line that requests stand in, by priority. The only file that knows Bottleneck. */
import Bottleneck from "bottleneck";

/** A line never runs dry of more than this: Bottleneck has no word for "as many as you like". */
const plenty = 1_000_000_000;

/** How far the wall clock may go back before a line is set up anew. */
const clockSlackMs = 1000;

export interface PriorityQueueOptions {
  /** Turns that may last at once; null for any number. */
  readonly maxConcurrent: number | null;
  /** Milliseconds between the beginnings of two turns. */
  readonly minTime: number;
}

/** One Bottleneck whose reservoir follows a reckoning, and is never refilled by Bottleneck itself. */
export class PriorityQueue {
  readonly #options: PriorityQueueOptions;
  readonly #tokens: () => number;
  #limiter: Bottleneck;
  /** The limiter's reservoir as it will be when it has done what it was told. */
  #level = 0;
  #latest = Date.now();
  #waiting = 0;
  #running = 0;

  /** `tokens` says how many turns may begin now. */
  constructor(options: PriorityQueueOptions, tokens: () => number) {
    this.#options = options;
    this.#tokens = tokens;
    this.#limiter = this.#anew();
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** Sets the reservoir. Told as a difference, since jobs take from it before Bottleneck gets round to it. */
  fill(): void {
    const difference = Math.min(this.#room, plenty) - this.#level;
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
    // Bottleneck takes milliseconds to let somebody through for whom there is nothing to wait.
    if (this.#waiting === 0 && this.#options.minTime === 0 && this.#room >= 1) return this.#begin(begin);
    this.fill();
    const { promise, resolve, reject } = Promise.withResolvers<() => void>();
    const leave = (): void => reject(signal.reason);
    signal.addEventListener("abort", leave, { once: true });
    this.#waiting += 1;
    this.#limiter
      .schedule({ priority }, async () => {
        this.#level -= 1;
        // Bottleneck cannot take anybody out of the queue: who has left lets the next one through.
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
  get #room(): number {
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

  /** Turns that last are counted here and not there, so that those count too which Bottleneck has not seen. */
  #anew(): Bottleneck {
    const { minTime } = this.#options;
    // One by one where they are spaced: Bottleneck orders by priority only what it has not planned yet.
    return new Bottleneck({ minTime, maxConcurrent: minTime > 0 ? 1 : null, reservoir: 0 });
  }

  /** Bottleneck plans with the wall clock: set back an hour, it would hold everything for an hour. */
  #withstandClock(): void {
    const now = Date.now();
    if (now < this.#latest - clockSlackMs) {
      this.#limiter = this.#anew();
      this.#level = 0;
    }
    this.#latest = now;
  }
}
