/** What one client of an event stream has yet to read: bounded, since a client may read slowly or not at all. */
import type { SSEStreamingApi } from "hono/streaming";
import type { Clock } from "../async/clock.ts";

/** Shorter than the minute after which common proxies cut a silent connection. */
const heartbeatMs = 15_000;

/** All items since the last batch. */
export interface Batch<Item> {
  readonly items: readonly Item[];
  /** How many older ones were dropped because there were too many. */
  readonly missed: number;
}

export class Backlog<Item> {
  readonly #most: number;
  readonly #clock: Pick<Clock, "after">;
  #items: Item[] = [];
  #missed = 0;
  #wake: (() => void) | undefined;

  /** Keeps the last `most` items. */
  constructor(most: number, clock: Pick<Clock, "after">) {
    this.#most = most;
    this.#clock = clock;
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

  /** The next batch, empty if nothing comes within `waitMs`. One caller at a time. */
  async next(waitMs: number): Promise<Batch<Item>> {
    if (this.#items.length === 0) await this.#wait(waitMs);
    const batch = { items: this.#items, missed: this.#missed };
    this.#items = [];
    this.#missed = 0;
    return batch;
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#clock.after(ms, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }
}

/** The batches for the client of `stream`, until it has left or its connection was closed. */
export async function* batches<Item>(
  backlog: Backlog<Item>,
  stream: SSEStreamingApi,
): AsyncGenerator<Batch<Item>> {
  stream.onAbort(() => backlog.wake());
  while (!stream.aborted) {
    const batch = await backlog.next(heartbeatMs);
    if (batch.items.length > 0) yield batch;
    // A comment, for proxies that cut silent connections, and to notice clients that have left.
    else await stream.write(":\n\n");
  }
}
