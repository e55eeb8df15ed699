/** Single-flight: one run for many callers. */

/** The running flights, by key. A key is free again before its callers hear of the result. */
export class Flights<V> {
  readonly #running = new Map<string, Promise<V>>();

  /** The result of the running flight of `key`, or of `start` when there is none. */
  join(key: string, start: () => Promise<V>): Promise<V> {
    return this.#running.getOrInsertComputed(key, () =>
      Promise.try(start).finally(() => this.#running.delete(key)),
    );
  }

  has(key: string): boolean {
    return this.#running.has(key);
  }
}
