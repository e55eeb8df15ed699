/** What each client may have asked of upstreams: a bucket of tokens, so that nobody who makes up names spends for all. */
import { UpstreamError } from "../upstream/error.ts";

export interface MissLimits {
  /** How many questions that were answered with "no" a client may cause at once. */
  readonly burst: number;
  /** And how many more each minute. */
  readonly perMinute: number;
  /** Told of every question that was not asked. */
  readonly reached: () => void;
}

/** What a question costs whose answer is not "no": a node that starts with nothing asks thousands. */
const otherwise = 0.1;

/** A name is the client's own word, so an address may not speak for more than this many clients. */
const clientsPerAddress = 32;

/** How many clients are remembered; one that is forgotten has its whole budget. */
const capacity = 10_000;

interface Purse {
  tokens: number;
  at: number;
}

/** A client's question was not asked, because too much that it asked for is not there. */
export class MissLimitError extends UpstreamError {}

export class MissLimiter {
  readonly #limits: MissLimits;
  readonly #now: () => number;
  /** In the order of last use. */
  readonly #purses = new Map<string, Purse>();

  /** `now` in ms. */
  constructor(limits: MissLimits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
  }

  /** How many clients are remembered. */
  get size(): number {
    return this.#purses.size;
  }

  /**
   * Takes what a question of `client` may cost; the returned function, to be called with its error if it has one, gives back
   * what it did not. @throws OverBudget
   */
  spend(client: string, address: string | undefined): (error?: unknown) => void {
    const { burst, reached } = this.#limits;
    const purses = [this.#purse(client, 1)];
    if (address !== undefined && address !== client)
      purses.push(this.#purse(`@${address}`, clientsPerAddress));
    const least = Math.min(...purses.map(({ tokens }) => tokens));
    if (least < 1) {
      reached();
      const retryAfter = Math.max(1, Math.ceil(((1 - least) * 60) / this.#limits.perMinute));
      throw new MissLimitError(
        "limited",
        `${client} has asked for too much that upstreams do not have (limits.misses allows ${burst} at once); ` +
          `it may ask for what is not held in ${retryAfter} s, and what is held is still served`,
        { retryAfter, reason: "client-limit" },
      );
    }
    for (const purse of purses) purse.tokens -= 1;
    return (error) => {
      if (error instanceof UpstreamError && (error.kind === "absent" || error.kind === "denied")) return;
      for (const purse of purses) purse.tokens += 1 - otherwise;
    };
  }

  #purse(name: string, clients: number): Purse {
    const { burst, perMinute } = this.#limits;
    const now = this.#now();
    const most = burst * clients;
    const known = this.#purses.get(name);
    // A clock that was set back must not take anything away.
    const waited = known ? Math.max(0, now - known.at) : 0;
    const tokens = known ? Math.min(most, known.tokens + (waited * perMinute * clients) / 60_000) : most;
    const purse = known ?? { tokens, at: now };
    purse.tokens = tokens;
    purse.at = now;
    this.#purses.delete(name);
    this.#purses.set(name, purse);
    if (this.#purses.size > capacity) {
      const oldest = this.#purses.keys().next();
      if (!oldest.done) this.#purses.delete(oldest.value);
    }
    return purse;
  }
}
