/** The ledger's own clock: it runs only while Hubcap runs, and no change of the wall clock moves it. */
import type { Clock } from "../async/clock.ts";

/**
 * A sliding window needs the age of each row, and the wall clock cannot give it: it may have been set back or forward
 * since, or while Hubcap was down. So rows carry the time of this clock. It starts at the latest time that the ledger has
 * seen, counts on monotonically, and stands still while nothing runs. It can only be behind the world, so a row can only
 * be taken for younger than it is: no restart and no jump frees a pull early. The cost, a window that seems fuller than it
 * is after a long stop, ends with the upstream's next answer (see slidingWindow.ts).
 */
export class LedgerClock {
  readonly #clock: Pick<Clock, "now" | "elapsed">;
  readonly #start: number;
  readonly #started: number;

  /** `start` is the latest time in the ledger; a new ledger starts with the wall clock's. */
  constructor(clock: Pick<Clock, "now" | "elapsed">, start: number) {
    this.#clock = clock;
    this.#start = start;
    this.#started = clock.elapsed();
  }

  /** Whole milliseconds on the ledger's clock. */
  time(): number {
    return this.#start + Math.floor(this.#clock.elapsed() - this.#started);
  }

  /** The wall clock's time of `time`, as far as it is known. */
  wall(time: number): number {
    return this.#clock.now() + time - this.time();
  }
}
