/** The connections that downloads may take. A download that finds none free waits here, where it holds up nothing else. */
import type { Clock } from "../../async/clock.ts";
import { UpstreamError } from "../error.ts";
import type { Reply } from "./httpClient.ts";

interface ConnectionPoolOptions {
  /** The upstream's name, for messages. */
  readonly name: string;
  /** Downloads that may run at once from one origin. */
  readonly most: number;
  /** How long a download with a signal waits for one to end. */
  readonly waitMs: number;
  readonly clock: Clock;
}

/** One origin's connections: how many are taken, and what waits for the next. */
interface Origin {
  taken: number;
  readonly waiting: Set<() => void>;
  /** Downloads in the middle of a blob that clients read already: they are first. */
  readonly resuming: Set<() => void>;
}

/** The connections of one upstream, and of each origin that it redirects to. */
export class ConnectionPool {
  readonly #options: ConnectionPoolOptions;
  readonly #origins = new Map<string, Origin>();

  constructor(options: ConnectionPoolOptions) {
    this.#options = options;
  }

  /**
   * The reply that `send` gets, which holds a connection to `origin` until its body ends. Without a `signal` the wait for one is unbounded.
   * @throws UpstreamError "unreachable" when none comes free in time, whatever `send` throws, and the reason of `signal`.
   */
  async hold(origin: string, signal: AbortSignal | undefined, send: () => Promise<Reply>): Promise<Reply> {
    const release = await this.#take(origin, signal);
    try {
      const reply = await send();
      // It may have been cut already.
      if (reply.body.closed) release();
      else reply.body.once("close", release);
      return reply;
    } catch (error) {
      release();
      throw error;
    }
  }

  async #take(name: string, signal: AbortSignal | undefined): Promise<() => void> {
    signal?.throwIfAborted();
    const origin = this.#origins.getOrInsertComputed(name, () => ({
      taken: 0,
      waiting: new Set(),
      resuming: new Set(),
    }));
    if (origin.taken === this.#options.most) await this.#wait(origin, signal);
    else origin.taken += 1;
    return () => this.#release(name, origin);
  }

  /** Resolves when a connection has been handed over. */
  async #wait(origin: Origin, signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const queue = signal ? origin.waiting : origin.resuming;
    queue.add(resolve);
    const leave = (reason: unknown): void => {
      queue.delete(resolve);
      reject(reason);
    };
    const aborted = (): void => leave(signal?.reason);
    signal?.addEventListener("abort", aborted, { once: true });
    const { clock, waitMs } = this.#options;
    const cancel = signal && clock.after(waitMs, () => leave(this.#tooMany()));
    try {
      await promise;
    } finally {
      cancel?.();
      signal?.removeEventListener("abort", aborted);
    }
  }

  #release(name: string, origin: Origin): void {
    for (const queue of [origin.resuming, origin.waiting]) {
      const [next] = queue;
      if (!next) continue;
      queue.delete(next);
      next();
      return;
    }
    origin.taken -= 1;
    if (origin.taken === 0) this.#origins.delete(name);
  }

  #tooMany(): UpstreamError {
    const { name, most, waitMs } = this.#options;
    return new UpstreamError(
      "unreachable",
      `too many downloads from ${name} are running: none of ${most} ended within ${waitMs / 1000} s; try again`,
    );
  }
}
