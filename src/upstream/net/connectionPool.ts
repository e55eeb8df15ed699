/** The connections that downloads may take: who finds none free waits here, where the wait is in nobody else's way. */
import { UpstreamError } from "../error.ts";
import type { Reply } from "./httpClient.ts";

export interface ConnectionPoolOptions {
  /** The upstream's name, for messages. */
  readonly name: string;
  /** Downloads that may run at once from one origin. */
  readonly most: number;
  /** How long somebody who is impatient waits for one to end. */
  readonly waitMs: number;
}

/** One origin's slots: how many are taken, and who waits for the next. */
interface Origin {
  taken: number;
  readonly waiting: Set<() => void>;
  /** They are in the middle of a blob that is being read already, so they go first. */
  readonly resuming: Set<() => void>;
}

/** The slots of one upstream, and of each origin that it redirects to. */
export class ConnectionPool {
  readonly #options: ConnectionPoolOptions;
  readonly #origins = new Map<string, Origin>();

  constructor(options: ConnectionPoolOptions) {
    this.#options = options;
  }

  /**
   * What `send` brings back, which holds a slot of `origin` until its body is over. Without a `signal` the wait for one has no end.
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

  /** Resolves when somebody's slot has been handed over. */
  async #wait(origin: Origin, signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const line = signal ? origin.waiting : origin.resuming;
    line.add(resolve);
    const leave = (reason: unknown): void => {
      line.delete(resolve);
      reject(reason);
    };
    const aborted = (): void => leave(signal?.reason);
    signal?.addEventListener("abort", aborted, { once: true });
    const timer = signal && setTimeout(() => leave(this.#tooMany()), this.#options.waitMs).unref();
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
    }
  }

  #release(name: string, origin: Origin): void {
    for (const line of [origin.resuming, origin.waiting]) {
      const [next] = line;
      if (!next) continue;
      line.delete(next);
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
