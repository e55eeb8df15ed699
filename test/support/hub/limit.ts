/** Docker Hub's pull limit: a rolling window for each account or address (reference: Docker Hub's usage/pulls page). */

/** Pulls per window, or no limit at all, as paid accounts have it. */
export type Limit = number | "unlimited";

export interface WindowOptions {
  readonly seconds: number;
  readonly now: () => number;
}

export class PullWindows {
  readonly #options: WindowOptions;
  readonly #limits = new Map<string, Limit>();
  readonly #spent = new Map<string, number[]>();
  readonly #fallback: (key: string) => Limit;

  /** `fallback` is the limit of a key that was not set by itself. */
  constructor(options: WindowOptions, fallback: (key: string) => Limit) {
    this.#options = options;
    this.#fallback = fallback;
  }

  get seconds(): number {
    return this.#options.seconds;
  }

  limit(key: string): Limit {
    return this.#limits.get(key) ?? this.#fallback(key);
  }

  setLimit(key: string, limit: Limit): void {
    this.#limits.set(key, limit);
  }

  /** Spends one pull; false when none is left. */
  take(key: string): boolean {
    if (this.remaining(key) < 1) {
      return false;
    }
    this.consume(key, 1);
    return true;
  }

  /** Spends pulls as another consumer of the same account would. */
  consume(key: string, pulls: number): void {
    const now = this.#options.now();
    const live = this.#live(key);
    for (let pull = 0; pull < pulls; pull += 1) {
      live.push(now);
    }
  }

  /** Pulls left; Infinity without a limit. */
  remaining(key: string): number {
    const limit = this.limit(key);
    return limit === "unlimited" ? Number.POSITIVE_INFINITY : Math.max(0, limit - this.#live(key).length);
  }

  /** Pulls spent within the window. */
  spent(key: string): number {
    return this.#live(key).length;
  }

  /** When a pull will be free, in ms of the clock: now if one is. */
  nextFreeAt(key: string): number {
    const limit = this.limit(key);
    const live = this.#live(key);
    if (limit === "unlimited" || live.length < limit) {
      return this.#options.now();
    }
    const leaving = live[live.length - limit];
    return leaving === undefined ? Number.POSITIVE_INFINITY : leaving + this.#options.seconds * 1000;
  }

  #live(key: string): number[] {
    const since = this.#options.now() - this.#options.seconds * 1000;
    const spent = this.#spent.get(key) ?? [];
    const kept = spent.findIndex((at) => at > since);
    spent.splice(0, kept < 0 ? spent.length : kept);
    this.#spent.set(key, spent);
    return spent;
  }
}

/** Docker Hub's abuse limit: requests of every kind, by address, in fixed windows. */
export class AbuseGuard {
  readonly #now: () => number;
  readonly #seen = new Map<string, { since: number; count: number }>();
  /** Undefined: no limit. */
  limit: { readonly requests: number; readonly seconds: number } | undefined;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Counts a request; false when it is one too many. */
  admit(address: string): boolean {
    if (this.limit === undefined) {
      return true;
    }
    const now = this.#now();
    const seen = this.#seen.get(address);
    const current =
      seen === undefined || now - seen.since >= this.limit.seconds * 1000 ? { since: now, count: 0 } : seen;
    current.count += 1;
    this.#seen.set(address, current);
    return current.count <= this.limit.requests;
  }
}
