/** What one client of an event stream has yet to read: bounded, since a client may read slowly or not at all. */
import type { SSEStreamingApi } from "hono/streaming";

/** Shorter than the minute of common proxies' patience with a silent connection, in ms. */
const heartbeatMs = 15_000;

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

/** What comes for the client of `stream`, until it has left or its connection was closed. */
export async function* batches<Item>(
  backlog: Backlog<Item>,
  stream: SSEStreamingApi,
): AsyncGenerator<Batch<Item>> {
  stream.onAbort(() => backlog.wake());
  while (!stream.aborted) {
    const batch = await backlog.next(heartbeatMs);
    if (batch.items.length > 0) yield batch;
    // A comment, for proxies that cut what is silent, and to notice who is gone.
    else await stream.write(":\n\n");
  }
}
