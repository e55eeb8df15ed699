/** The ledger's own clock: it runs only while Hubcap runs, and no change of the wall clock moves it. */

export interface Clocks {
  /** The wall clock, in milliseconds since the epoch: what people read. It may jump. */
  readonly now: () => number;
  /** A clock that never jumps, in milliseconds from any origin: what ages are measured with. */
  readonly monotonic: () => number;
}

export const systemClocks: Clocks = { now: () => Date.now(), monotonic: () => performance.now() };

/**
 * A rolling window needs to know how old a row is, and the wall clock cannot be asked: it may have been set back or
 * forward since, or while Hubcap was down. So rows carry the time of this clock. It starts where the last process was
 * last seen, counts on monotonically, and stands still while nothing runs. It can only be behind the world, so a row
 * can only be thought younger than it is: a restart or a jump never frees a pull early. What it costs, a window that
 * seems fuller than it is after a long stop, the upstream's next answer makes good (see window.ts).
 */
export class LedgerClock {
  readonly #clocks: Clocks;
  readonly #start: number;
  readonly #started: number;

  /** `start` is the latest time the ledger has seen; a new ledger starts with the wall clock. */
  constructor(clocks: Clocks, start: number) {
    this.#clocks = clocks;
    this.#start = start;
    this.#started = clocks.monotonic();
  }

  /** Whole milliseconds on the ledger's clock. */
  time(): number {
    return this.#start + Math.floor(this.#clocks.monotonic() - this.#started);
  }

  /** The wall clock's time of `time`, as far as it can be told. */
  wall(time: number): number {
    return this.#clocks.now() + time - this.time();
  }
}
