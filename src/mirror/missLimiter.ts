/** What each client may have requested of upstreams: a token bucket each, so that one that makes up names does not spend for all. */
import type { Clock } from "../async/clock.ts";
import { UpstreamError } from "../upstream/error.ts";

export interface MissLimits {
  /** How many requests that end in "no" a client may cause at once. */
  readonly burst: number;
  /** And how many more each minute. */
  readonly perMinute: number;
  /** Called for every request that was not sent. */
  readonly reached: () => void;
}

/** What a request costs that does not end in "no": a node that starts with nothing sends thousands. */
const costOtherwise = 0.1;

/** A client names itself, so an address may not speak for more than this many. */
const clientsPerAddress = 32;

/** How many clients are remembered; one that is forgotten has its whole budget. */
const capacity = 10_000;

interface TokenBucket {
  tokens: number;
  at: number;
}

/** A client's request was not sent, because too much of what it asked for does not exist. */
export class MissLimitError extends UpstreamError {}

export class MissLimiter {
  readonly #limits: MissLimits;
  readonly #clock: Pick<Clock, "now">;
  /** In the order of last use. */
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(limits: MissLimits, clock: Pick<Clock, "now">) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** How many clients are remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  /**
   * Takes what a request of `client` may cost. The returned function is called when it has ended, with its error if there is
   * one, and gives back what it did not cost. @throws MissLimitError
   */
  spend(client: string, address: string | undefined): (error?: unknown) => void {
    const { burst, reached } = this.#limits;
    const buckets = [this.#bucket(client, 1)];
    if (address !== undefined && address !== client)
      buckets.push(this.#bucket(`@${address}`, clientsPerAddress));
    const least = Math.min(...buckets.map(({ tokens }) => tokens));
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
    for (const bucket of buckets) bucket.tokens -= 1;
    return (error) => {
      if (error instanceof UpstreamError && (error.kind === "absent" || error.kind === "denied")) return;
      for (const bucket of buckets) bucket.tokens += 1 - costOtherwise;
    };
  }

  #bucket(name: string, clients: number): TokenBucket {
    const { burst, perMinute } = this.#limits;
    const now = this.#clock.now();
    const most = burst * clients;
    const known = this.#buckets.get(name);
    // A clock that was set back must not take anything away.
    const waited = known ? Math.max(0, now - known.at) : 0;
    const tokens = known ? Math.min(most, known.tokens + (waited * perMinute * clients) / 60_000) : most;
    const bucket = known ?? { tokens, at: now };
    bucket.tokens = tokens;
    bucket.at = now;
    this.#buckets.delete(name);
    this.#buckets.set(name, bucket);
    if (this.#buckets.size > capacity) {
      const oldest = this.#buckets.keys().next();
      if (!oldest.done) this.#buckets.delete(oldest.value);
    }
    return bucket;
  }
}
