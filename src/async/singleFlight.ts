/** Single flight: one run for many callers, each of which may stop waiting without stopping the run. */

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
