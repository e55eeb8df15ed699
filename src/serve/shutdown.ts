/** SIGTERM and SIGINT: the first asks to drain, the second ends the process at once. */

/** What follows the first one within so many ms is its echo: what a terminal sends to npm and to us, npm passes on. */
const echoMs = 500;

export class ShutdownSignal {
  readonly #controller = new AbortController();
  /** Aborted by the first signal. */
  readonly signal = this.#controller.signal;
  /** Settles with the first signal. */
  readonly asked: Promise<void>;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.asked = promise;
    let heardAt = 0;
    const hear = (): void => {
      if (this.signal.aborted) {
        if (performance.now() - heardAt > echoMs) process.exit(1);
        return;
      }
      heardAt = performance.now();
      this.#controller.abort();
      resolve();
    };
    process.on("SIGTERM", hear).on("SIGINT", hear);
  }
}
