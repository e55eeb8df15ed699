/** The connections that downloads may take. A download that finds none free waits here, where it holds up nothing else. */
import type { Clock } from "../../async/clock.ts";
import { Turns, type Party } from "../../async/concurrency.ts";
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

/** So much of an origin's connections is for addresses that hold {@link fewDownloads} or less: a third. */
const keptShare = 1 / 3;

/** How many downloads of one address are few: what a node pulls at once of one image. */
const fewDownloads = 3;

/** One origin's connections: how many are taken, by which addresses, and what waits for the next. */
interface Origin {
  taken: number;
  readonly takenBy: Map<string, number>;
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
      taken: 0,
      takenBy: new Map(),
      waiting: new Turns(),
      resuming: new Turns(),
    }));
    const { address = "" } = party;
    const take = (): void => {
      origin.taken += 1;
      origin.takenBy.set(address, (origin.takenBy.get(address) ?? 0) + 1);
    };
    if (this.#mayTake(origin, address)) take();
    else await this.#wait(origin, party, take, signal);
    return () => this.#release(name, origin, address);
  }

  /** The last connections are for addresses that have few, so that no one takes them all. */
  #mayTake({ taken, takenBy }: Origin, address: string): boolean {
    const { most } = this.#options;
    // Hubcap's own downloads have no address.
    const hasFew = address === "" || (takenBy.get(address) ?? 0) < fewDownloads;
    return taken < (hasFew ? most : most * (1 - keptShare));
  }

  /** Resolves when a connection has been handed over. */
  async #wait(
    origin: Origin,
    party: Party,
    take: () => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const queue = signal ? origin.waiting : origin.resuming;
    const start = (): void => {
      take();
      resolve();
    };
    queue.add(party, start);
    const leave = (reason: unknown): void => {
      queue.remove(party, start);
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

  #release(name: string, origin: Origin, address: string): void {
    const left = (origin.takenBy.get(address) ?? 0) - 1;
    origin.taken -= 1;
    if (left > 0) origin.takenBy.set(address, left);
    else origin.takenBy.delete(address);
    const mayGo = (waiting: string): boolean => this.#mayTake(origin, waiting);
    const next = origin.resuming.next(mayGo) ?? origin.waiting.next(mayGo);
    if (next) next();
    else if (origin.taken === 0) this.#origins.delete(name);
  }

  #tooMany(): UpstreamError {
    const { name, most, waitMs } = this.#options;
    return new UpstreamError(
      "unreachable",
      `too many downloads from ${name} are running: none of ${most} ended within ${waitMs / 1000} s; try again`,
    );
  }
}
