/** SIGTERM and SIGINT: the first asks to drain, the second ends the process at once. */
export class Stop {
  readonly #controller = new AbortController();
  /** Aborted by the first signal. */
  readonly signal = this.#controller.signal;
  /** Settles with the first signal. */
  readonly asked: Promise<void>;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.asked = promise;
    const hear = (): void => {
      if (this.signal.aborted) process.exit(1);
      this.#controller.abort();
      resolve();
    };
    process.on("SIGTERM", hear).on("SIGINT", hear);
  }
}
