/** The page's event stream: each open page is sent the parts that have changed, at most once a second. */
import type { SSEStreamingApi } from "hono/streaming";
import type { Clock } from "../../async/clock.ts";
import { Backlog, batches } from "../backlog.ts";
import type { Parts } from "./parts.ts";

/** How often the parts are made anew while a page is open, in ms. */
const lookEveryMs = 1000;

/** How many pages may be open at once: each takes a connection and a copy of what it was sent. */
export const mostWatchers = 64;

export class Live {
  readonly #look: () => Promise<Parts>;
  readonly #failed: (error: unknown) => void;
  readonly #clock: Clock;
  /** One for each open page. It is woken by a change, and then sent the newest parts only, however slowly it reads. */
  readonly #watchers = new Set<Backlog<true>>();
  #parts: Parts = new Map();
  #isLooking = false;

  /** `look` makes the parts as they are now; `failed` is called when it could not. */
  constructor(look: () => Promise<Parts>, failed: (error: unknown) => void, clock: Clock) {
    this.#clock = clock;
    this.#look = look;
    this.#failed = failed;
  }

  get isFull(): boolean {
    return this.#watchers.size >= mostWatchers;
  }

  /** Sends changes until the client has left or the connection was closed. */
  async follow(stream: SSEStreamingApi): Promise<void> {
    const changes = new Backlog<true>(1, this.#clock);
    const sent = new Map<string, string>();
    this.#watchers.add(changes);
    void this.#keepLooking();
    try {
      await this.#send(stream, sent);
      for await (const _ of batches(changes, stream)) await this.#send(stream, sent);
    } finally {
      this.#watchers.delete(changes);
    }
  }

  /** Sends the parts that differ from those `sent` last. */
  async #send(stream: SSEStreamingApi, sent: Map<string, string>): Promise<void> {
    const changed = [...this.#parts].filter(([name, text]) => sent.get(name) !== text);
    if (changed.length === 0) return;
    for (const [name, text] of changed) sent.set(name, text);
    await stream.writeSSE({ event: "parts", data: JSON.stringify(Object.fromEntries(changed)) });
  }

  /** Makes the parts anew for as long as a page is open. */
  async #keepLooking(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    while (this.#watchers.size > 0) {
      await this.#update();
      await this.#clock.sleep(lookEveryMs);
    }
    this.#isLooking = false;
    // The next page must not be shown old parts.
    this.#parts = new Map();
  }

  async #update(): Promise<void> {
    try {
      const parts = await this.#look();
      const isChanged = [...parts].some(([name, text]) => this.#parts.get(name) !== text);
      this.#parts = parts;
      if (isChanged) for (const watcher of this.#watchers) watcher.push(true);
    } catch (error) {
      this.#failed(error);
    }
  }
}
