/** SIGTERM and SIGINT: the first one begins to drain, the second one ends the process at once. */
import type { Clock } from "../async/clock.ts";

/** A signal that follows the first one so soon, in ms, is the same one: npm passes on what the terminal also sends to us. */
const echoMs = 500;

export class ShutdownSignal {
  readonly #controller = new AbortController();
  /** Aborted by the first signal. */
  readonly signal = this.#controller.signal;
  /** Settles with the first signal. */
  readonly requested: Promise<void>;

  constructor(clock: Pick<Clock, "elapsed">) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.requested = promise;
    let firstAt = 0;
    const receive = (): void => {
      if (this.signal.aborted) {
        if (clock.elapsed() - firstAt > echoMs) process.exit(1);
        return;
      }
      firstAt = clock.elapsed();
      this.#controller.abort();
      resolve();
    };
    process.on("SIGTERM", receive).on("SIGINT", receive);
  }
}
