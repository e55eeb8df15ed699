/**
 * Requests to upstreams, each sent once for all who want the same answer. What several pulls share is here and nowhere else:
 * the single flight, the negative cache and the miss limiter.
 */
import type { Clock } from "../async/clock.ts";
import { SingleFlight, unlessAborted, type Parties } from "../async/concurrency.ts";
import { inStep } from "../async/step.ts";
import type { Repository } from "../oci/reference.ts";
import { clientsPerHolder, holderOf } from "../quota/limits.ts";
import { UpstreamError } from "../upstream/error.ts";
import type { RequestOptions, Upstream } from "../upstream/registry.ts";
import { patienceMs, type MirrorUpstream, type PullContext } from "./context.ts";

/** How long a request is waited for, in ms, when something stale can be served and the repository has failed since it last answered. */
const shortPatienceMs = 2_500;

/** For how many ms a "no" is believed. A 404 may be pushed soon; an account may be given access sooner. */
const beliefMs = { absent: 30_000, denied: 10_000 } as const;

/** How many "no"s are remembered: a client that makes names up must not fill the memory. */
const negativeCapacity = 10_000;

/** A warm request was stopped before it was sent, because a client wants the same and sends its own: try again, it may be held then. */
export class PromotedError extends Error {
  override readonly name = "PromotedError";
}

/** A request to the upstream of a pull. */
export interface SharedRequest<T> {
  /** What it is about, such as `manifest docker.io/library/nginx:1.29`; a "no" is remembered under it. */
  readonly about: string;
  /** What is wanted of it: requests with the same `about` and `want` are one. */
  readonly want: "headers" | "content";
  /** What it costs a client in its miss limit if it does not end in "no"; a hundredth of a miss unless given. */
  readonly cost?: number;
  /** Something of it is known already and is only checked. */
  readonly revalidates?: boolean;
  /** Something stale can be served if it fails. */
  readonly haveStale?: boolean;
  /** Sends it. May be joined by others, so it must do nothing for one client alone. */
  readonly send: (options: RequestOptions) => Promise<T>;
}

type Key = Pick<SharedRequest<unknown>, "about" | "want">;

/** The running requests, and the recent "no"s. */
export class UpstreamRequests {
  readonly #running = new SingleFlight<unknown>();
  readonly #negative: NegativeCache;
  /** What stops a running warm request that was not sent yet. */
  readonly #warm = new Map<string, AbortController>();
  readonly #draining: AbortSignal;
  readonly #clock: Clock;
  readonly #missLimiter: MissLimiter | undefined;

  /** Once `draining` is aborted, nothing is requested any more. Without a limiter, clients may miss as often as they like. */
  constructor(draining: AbortSignal, clock: Clock, missLimiter?: MissLimiter) {
    this.#draining = draining;
    this.#clock = clock;
    this.#missLimiter = missLimiter;
    this.#negative = new NegativeCache(clock);
  }

  /** Does this request run for another client? */
  isRunning(request: Key): boolean {
    return this.#running.has(keyOf(request));
  }

  /** `pull` waits for this request of another client, though not for its answer. */
  hurry(request: Key, pull: PullContext): void {
    this.#running.hurry(keyOf(request), pull);
  }

  /**
   * The upstream's answer: of a running request of the same kind, or of one that is sent now. An "absent" or "denied" that
   * was heard lately is thrown without asking again. A client that sends a request pays for it in its miss limit, and waits
   * until its deadline at most; the request goes on without it.
   * @throws UpstreamError; MissLimitError; PromotedError, for a warm request alone.
   */
  async share<T>(request: SharedRequest<T>, pull: PullContext): Promise<T> {
    const no = this.#negative.get(request.about);
    if (no) throw no;
    if (this.#draining.aborted)
      throw new UpstreamError("unreachable", "this mirror is shutting down", { reason: "shutting-down" });
    const started = this.#clock.elapsed();
    try {
      // Requests of one key are of one type: the key says what is wanted.
      return (await (pull.warm ? this.#join(request, pull) : this.#joinPromoted(request, pull))) as T;
    } finally {
      pull.notes.upstreamMs += this.#clock.elapsed() - started;
    }
  }

  /** The same as {@link inTime}, counted as a wait for the upstream. */
  async wait<T>(promise: Promise<T>, pull: PullContext, message: string): Promise<T> {
    const started = this.#clock.elapsed();
    try {
      return await this.inTime(promise, pull, message);
    } finally {
      pull.notes.upstreamMs += this.#clock.elapsed() - started;
    }
  }

  /** `promise`, or an UpstreamError "unreachable" with `message` once the deadline of `pull` has passed. */
  inTime<T>(promise: Promise<T>, pull: PullContext, message: string): Promise<T> {
    return this.#within(Math.max(0, pull.deadline - this.#clock.elapsed()), message, () => promise);
  }

  /**
   * Joins for a client. A warm request waits behind all clients and may not spend what they may, so one that still waits is
   * stopped and sent again by the client, as is one that was refused for its lower priority.
   */
  async #joinPromoted(request: SharedRequest<unknown>, pull: PullContext): Promise<unknown> {
    for (;;) {
      const warm = this.#warm.get(keyOf(request));
      warm?.abort(new PromotedError("a client wants this now"));
      try {
        return await this.#join(request, pull);
      } catch (error) {
        if (!(error instanceof PromotedError || (warm && isLimited(error)))) throw error;
      }
    }
  }

  async #join(request: SharedRequest<unknown>, pull: PullContext): Promise<unknown> {
    const limiter = pull.warm ? undefined : this.#missLimiter;
    // Who asks for much at once waits for its own requests, and is not refused for what they may find missing.
    for (;;) {
      const others = this.isRunning(request) ? undefined : limiter?.full(pull);
      if (!others) break;
      await this.inTime(others, pull, late(pull.upstream.registry));
    }
    const isRunning = this.isRunning(request);
    // Paid before anyone can join.
    const settle = isRunning ? undefined : limiter?.spend(pull, request.cost);
    const run = this.#running.join(
      keyOf(request),
      (joined) => this.#run(request, pull, settle, joined),
      undefined,
      pull,
    );
    const answer = (): Promise<unknown> => this.inTime(run, pull, late(pull.upstream.registry));
    // The steps of a request belong to the pull that sent it; others only wait.
    return isRunning ? inStep(pull.trace, "wait for another pull", {}, answer) : answer();
  }

  async #run(
    request: SharedRequest<unknown>,
    pull: PullContext,
    settle: ((error?: unknown) => void) | undefined,
    joined: Parties,
  ): Promise<unknown> {
    const { registry } = pull.upstream;
    const isFailing = registry.health.isFailing(pull.repository);
    const { client, payer, address, userAgent, trace, warm } = pull;
    const patience = request.haveStale && isFailing ? shortPatienceMs : patienceMs;
    const reason = warm ? "warm" : request.revalidates ? "revalidate" : "pull";
    const stop = warm && new AbortController();
    if (stop) this.#warm.set(keyOf(request), stop);
    const purpose = {
      reason,
      client,
      payer,
      address,
      joined,
      userAgent,
      ...(trace && { trace }),
      ...(stop && { promoted: stop.signal }),
    } as const;
    try {
      const answer = await this.#within(patience, late(registry), (signal) =>
        request.send({ purpose, signal }),
      );
      settle?.();
      return answer;
    } catch (error) {
      settle?.(error);
      this.#negative.note(request.about, error);
      throw error;
    } finally {
      if (stop) this.#warm.delete(keyOf(request));
    }
  }

  async #within<T>(ms: number, message: string, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    const cancel = this.#clock.after(ms, () => controller.abort(new UpstreamError("unreachable", message)));
    try {
      return await unlessAborted(run(controller.signal), controller.signal);
    } finally {
      cancel();
    }
  }
}

/** The upstreams' recent "no"s, a bounded number of them. */
export class NegativeCache {
  readonly #until = new Map<string, { readonly error: UpstreamError; readonly at: number }>();
  readonly #clock: Pick<Clock, "now">;

  constructor(clock: Pick<Clock, "now">) {
    this.#clock = clock;
  }

  /** The "no" about `about`, if it is still believed. */
  get(about: string): UpstreamError | undefined {
    const entry = this.#until.get(about);
    if (!entry) return undefined;
    if (entry.at > this.#clock.now()) return entry.error;
    this.#until.delete(about);
    return undefined;
  }

  /** Remembers `error` if it is a "no"; any other says nothing about the content. */
  note(about: string, error: unknown): void {
    if (!(error instanceof UpstreamError) || (error.kind !== "absent" && error.kind !== "denied")) return;
    if (this.#until.size >= negativeCapacity) {
      const oldest = this.#until.keys().next();
      if (!oldest.done) this.#until.delete(oldest.value);
    }
    this.#until.set(about, { error, at: this.#clock.now() + beliefMs[error.kind] });
  }
}

function isLimited(error: unknown): boolean {
  return error instanceof UpstreamError && error.kind === "limited";
}

function late({ name }: Upstream): string {
  return `${name} did not answer in time`;
}

function keyOf({ want, about }: Key): string {
  return `${want} ${about}`;
}

export interface MissLimits {
  /** How many requests that end in "no" a client may cause at once. */
  readonly burst: number;
  /** And how many more each minute. */
  readonly perMinute: number;
  /** Called for every request that was not sent. */
  readonly reached: () => void;
}

/** What a request costs that does not end in "no": a node that starts with nothing sends thousands. */
const costOtherwise = 0.01;

/** How many clients are remembered; one that is forgotten has its whole budget. */
const capacity = 10_000;

interface TokenBucket {
  tokens: number;
  at: number;
  /** What requests under way have taken of it, and may give back. */
  underWay: number;
  /** Those who wait for that. */
  waiting: PromiseWithResolvers<void> | undefined;
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

  /** Settles when a request of the client has ended, where those under way have taken all that it may cause; else undefined. */
  full(client: Payer): Promise<void> | undefined {
    const full = this.#bucketsOf(client).find(({ tokens, underWay }) => tokens < 1 && tokens + underWay >= 1);
    return full && (full.waiting ??= Promise.withResolvers()).promise;
  }

  /**
   * Takes what a request of `client` may cost. The returned function is called when it has ended, with its error if there is
   * one, and gives back what it did not cost. @throws MissLimitError
   */
  spend(client: Payer, cost = costOtherwise): (error?: unknown) => void {
    const { burst, perMinute, reached } = this.#limits;
    const buckets = this.#bucketsOf(client);
    const least = Math.min(...buckets.map(({ tokens }) => tokens));
    if (least < 1) {
      reached();
      const retryAfter = Math.max(1, Math.ceil(((1 - least) * 60) / perMinute));
      throw new MissLimitError(
        "limited",
        `${client.client} has asked for too much that upstreams do not have (limits.misses allows ${burst} at once); ` +
          `it may ask for what is not held in ${retryAfter} s, and what is held is still served`,
        { retryAfter, reason: "client-limit" },
      );
    }
    for (const bucket of buckets) {
      bucket.tokens -= 1;
      bucket.underWay += 1;
    }
    return (error) => {
      const isNo = error instanceof UpstreamError && (error.kind === "absent" || error.kind === "denied");
      for (const bucket of buckets) {
        bucket.underWay -= 1;
        if (!isNo) bucket.tokens += 1 - cost;
        bucket.waiting?.resolve();
        bucket.waiting = undefined;
      }
    };
  }

  /** The client's own, and that of all names of its address. */
  #bucketsOf({ payer }: Payer): readonly TokenBucket[] {
    const holder = holderOf(payer);
    const own = this.#bucket(payer, 1);
    return holder === undefined ? [own] : [own, this.#bucket(`@${holder}`, clientsPerHolder)];
  }

  #bucket(name: string, clients: number): TokenBucket {
    const { burst, perMinute } = this.#limits;
    const now = this.#clock.now();
    const most = burst * clients;
    const known = this.#buckets.get(name);
    // A clock that was set back must not take anything away.
    const waited = known ? Math.max(0, now - known.at) : 0;
    const bucket = known ?? { tokens: most, at: now, underWay: 0, waiting: undefined };
    bucket.tokens = Math.min(most - bucket.underWay, bucket.tokens + (waited * perMinute * clients) / 60_000);
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

type Payer = Pick<PullContext, "client" | "payer">;

/** A repository, and the registry that is asked for it. */
export interface UpstreamRepository {
  readonly registry: Upstream;
  readonly repository: Repository;
}

/** What an upstream or, in its place, one of its alternates answered. */
export interface FromUpstream<T> {
  readonly value: T;
  /** The alternate's name; absent when the upstream itself answered. */
  readonly alternate?: string;
}

/**
 * What `send` gives for the upstream of `repository`, or, when that cannot be asked now, for the first alternate that answers.
 * @throws the upstream's error when none of them answers.
 */
export async function withAlternates<T>(
  { upstream, repository }: { readonly upstream: MirrorUpstream; readonly repository: Repository },
  send: (source: UpstreamRepository) => Promise<T>,
): Promise<FromUpstream<T>> {
  const { registry, alternates } = upstream;
  try {
    return { value: await send({ registry, repository }) };
  } catch (error) {
    if (!(error instanceof UpstreamError) || (error.kind !== "limited" && error.kind !== "unreachable")) {
      throw error;
    }
    for (const other of alternates) {
      try {
        const there = { upstream: other.name, name: repository.name };
        return { value: await send({ registry: other, repository: there }), alternate: other.name };
      } catch {
        // An alternate's own error says nothing about the upstream that was asked for.
      }
    }
    throw error;
  }
}
