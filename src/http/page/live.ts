/** The page's event stream: who looks at the page is sent each part that has changed, at most once a second. */
import type { SSEStreamingApi } from "hono/streaming";
import { Backlog, batches } from "../backlog.ts";
import type { Parts } from "./parts.ts";

/** How often is looked, while somebody looks at the page, whether anything has changed, in ms. */
const lookEveryMs = 1000;

/** So many may look at the page at once: each takes a connection and a copy of what it was sent. */
export const mostWatchers = 64;

export class Live {
  readonly #look: () => Promise<Parts>;
  readonly #failed: (error: unknown) => void;
  /** Who watches; each is woken when there is news, and then sent the newest only, however slowly it reads. */
  readonly #watchers = new Set<Backlog<true>>();
  #parts: Parts = new Map();
  #isLooking = false;

  /** `look` gives the parts as they are now; `failed` is told why it could not. */
  constructor(look: () => Promise<Parts>, failed: (error: unknown) => void) {
    this.#look = look;
    this.#failed = failed;
  }

  get isFull(): boolean {
    return this.#watchers.size >= mostWatchers;
  }

  /** Sends news until the client has left or the connection was closed. */
  async follow(stream: SSEStreamingApi): Promise<void> {
    const news = new Backlog<true>(1);
    const sent = new Map<string, string>();
    this.#watchers.add(news);
    void this.#keepLooking();
    try {
      await this.#send(stream, sent);
      for await (const _ of batches(news, stream)) await this.#send(stream, sent);
    } finally {
      this.#watchers.delete(news);
    }
  }

  /** Sends the parts that are not as they were `sent` last. */
  async #send(stream: SSEStreamingApi, sent: Map<string, string>): Promise<void> {
    const changed = [...this.#parts].filter(([name, text]) => sent.get(name) !== text);
    if (changed.length === 0) return;
    for (const [name, text] of changed) sent.set(name, text);
    await stream.writeSSE({ event: "parts", data: JSON.stringify(Object.fromEntries(changed)) });
  }

  /** Looks as long as anybody watches. */
  async #keepLooking(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    while (this.#watchers.size > 0) {
      await this.#turn();
      await new Promise((resolve) => setTimeout(resolve, lookEveryMs).unref());
    }
    this.#isLooking = false;
    // Who comes next must not be shown what was.
    this.#parts = new Map();
  }

  async #turn(): Promise<void> {
    try {
      const parts = await this.#look();
      const isNews = [...parts].some(([name, text]) => this.#parts.get(name) !== text);
      this.#parts = parts;
      if (isNews) for (const watcher of this.#watchers) watcher.push(true);
    } catch (error) {
      this.#failed(error);
    }
  }
}
