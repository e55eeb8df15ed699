/** A line that requests stand in, by priority. The only file that knows Bottleneck. */
import Bottleneck from "bottleneck";

/** A line never runs dry of more than this: Bottleneck has no word for "as many as you like". */
const plenty = 1_000_000_000;

/** How far the wall clock may go back before a line is set up anew. */
const clockSlackMs = 1000;

export interface LineOptions {
  /** Turns that may last at once; null for any number. */
  readonly maxConcurrent: number | null;
  /** Milliseconds between the beginnings of two turns. */
  readonly minTime: number;
}

/** One Bottleneck whose reservoir follows a reckoning, and is never refilled by Bottleneck itself. */
export class Line {
  readonly #options: LineOptions;
  readonly #tokens: () => number;
  #limiter: Bottleneck;
  /** The limiter's reservoir as it will be when it has done what it was told. */
  #level = 0;
  #latest = Date.now();
  #waiting = 0;

  /** `tokens` says how many turns may begin now. */
  constructor(options: LineOptions, tokens: () => number) {
    this.#options = options;
    this.#tokens = tokens;
    this.#limiter = new Bottleneck({ ...options, reservoir: 0 });
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** Sets the reservoir. Told as a difference, since jobs take from it before Bottleneck gets round to it. */
  fill(): void {
    const difference = Math.min(this.#tokens(), plenty) - this.#level;
    if (difference === 0) return;
    this.#level += difference;
    void this.#limiter.incrementReservoir(difference);
  }

  /** Waits for a turn, which lasts until the returned function is called. @throws the signal's reason. */
  async turn(priority: number, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    this.#withstandClock();
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
        const { promise: ended, resolve: end } = Promise.withResolvers<void>();
        resolve(end);
        await ended;
      })
      .catch(reject);
    try {
      return await promise;
    } finally {
      this.#waiting -= 1;
      signal.removeEventListener("abort", leave);
    }
  }

  /** Bottleneck plans with the wall clock: set back an hour, it would hold everything for an hour. */
  #withstandClock(): void {
    const now = Date.now();
    if (now < this.#latest - clockSlackMs) {
      this.#limiter = new Bottleneck({ ...this.#options, reservoir: 0 });
      this.#level = 0;
    }
    this.#latest = now;
  }
}
