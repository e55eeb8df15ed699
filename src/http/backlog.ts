/** What one client of an event stream has yet to read: bounded, since a client may read slowly or not at all. */

/** Everything that has come since the last time it was asked for. */
export interface Batch<Item> {
  readonly items: readonly Item[];
  /** How many older ones were dropped because there were too many. */
  readonly missed: number;
}

export class Backlog<Item> {
  readonly #most: number;
  #items: Item[] = [];
  #missed = 0;
  #wake: (() => void) | undefined;

  /** Keeps the last `most` items. */
  constructor(most: number) {
    this.#most = most;
  }

  push(item: Item): void {
    this.#items.push(item);
    if (this.#items.length > this.#most) {
      this.#items.shift();
      this.#missed += 1;
    }
    this.#wake?.();
  }

  /** Ends the wait of {@link next} early. */
  wake(): void {
    this.#wake?.();
  }

  /** What there is, waiting for something up to `waitMs`; empty when nothing came. One caller at a time. */
  async next(waitMs: number): Promise<Batch<Item>> {
    if (this.#items.length === 0) await this.#something(waitMs);
    const batch = { items: this.#items, missed: this.#missed };
    this.#items = [];
    this.#missed = 0;
    return batch;
  }

  #something(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, waitMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
