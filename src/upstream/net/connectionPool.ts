/** The connections that downloads may take. A download that finds none free waits here, where it holds up nothing else. */
import type { Clock } from "../../async/clock.ts";
import { lineUp, Places, Turns, type Party } from "../../async/concurrency.ts";
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

/** One origin's connections, and what waits for the next. */
interface Origin {
  readonly places: Places;
  readonly waiting: Turns<() => void>;
  /** Downloads in the middle of a blob that clients read already: they are first. */
  readonly resuming: Turns<() => void>;
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
  async hold(
    origin: string,
    party: Party,
    signal: AbortSignal | undefined,
    send: () => Promise<Reply>,
  ): Promise<Reply> {
    const release = await this.#take(origin, party, signal);
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

  async #take(name: string, party: Party, signal: AbortSignal | undefined): Promise<() => void> {
    signal?.throwIfAborted();
    const origin = this.#origins.getOrInsertComputed(name, () => ({
      places: new Places(this.#options.most),
      waiting: new Turns(),
      resuming: new Turns(),
    }));
    const { address = "" } = party;
    const free = origin.places.mayTake(address)
      ? origin.places.take(address)
      : await this.#wait(origin, party, signal);
    return () => {
      free();
      if (!this.#advance(origin) && origin.places.taken === 0) this.#origins.delete(name);
    };
  }

  /** What frees the connection that has been handed over. */
  async #wait(origin: Origin, party: Party, signal: AbortSignal | undefined): Promise<() => void> {
    const { promise, resolve, reject } = Promise.withResolvers<() => void>();
    const queue = signal ? origin.waiting : origin.resuming;
    const start = ({ address = "" }: Party): void => {
      out();
      resolve(origin.places.take(address));
    };
    const out = lineUp(
      queue,
      party,
      (whose) => () => start(whose),
      () => void this.#advance(origin),
    );
    const leave = (reason: unknown): void => {
      out();
      reject(reason);
    };
    const aborted = (): void => leave(signal?.reason);
    signal?.addEventListener("abort", aborted, { once: true });
    const { clock, waitMs } = this.#options;
    const cancel = signal && clock.after(waitMs, () => leave(this.#tooMany()));
    try {
      return await promise;
    } finally {
      cancel?.();
      signal?.removeEventListener("abort", aborted);
    }
  }

  /** Hands a connection over, if one is free and someone who may have it waits. */
  #advance({ places, resuming, waiting }: Origin): boolean {
    const mayGo = (address: string): boolean => places.mayTake(address);
    const next = resuming.next(mayGo) ?? waiting.next(mayGo);
    next?.();
    return next !== undefined;
  }

  #tooMany(): UpstreamError {
    const { name, most, waitMs } = this.#options;
    return new UpstreamError(
      "unreachable",
      `too many downloads from ${name} are running: none of ${most} ended within ${waitMs / 1000} s; try again`,
    );
  }
}
