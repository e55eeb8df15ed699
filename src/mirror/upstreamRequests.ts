/**
 * Requests to upstreams, each sent once for all who want the same answer. What several pulls share is here and nowhere else:
 * the single flight, the negative cache and the miss limiter.
 */
import type { Clock } from "../async/clock.ts";
import { SingleFlight, unlessAborted } from "../async/singleFlight.ts";
import { inStep } from "../async/step.ts";
import { UpstreamError } from "../upstream/error.ts";
import type { RequestOptions, Upstream } from "../upstream/registry.ts";
import { patienceMs, type PullContext } from "./context.ts";
import type { MissLimiter } from "./missLimiter.ts";

/** How long a request is waited for, in ms, when something stale can be served and the upstream has failed since it last answered. */
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

  #join(request: SharedRequest<unknown>, pull: PullContext): Promise<unknown> {
    const isRunning = this.isRunning(request);
    // Paid before anyone can join.
    const settle = isRunning || pull.warm ? undefined : this.#missLimiter?.spend(pull.client, pull.address);
    const run = this.#running.join(keyOf(request), () => this.#run(request, pull, settle));
    const answer = (): Promise<unknown> => this.inTime(run, pull, late(pull.upstream.registry));
    // The steps of a request belong to the pull that sent it; others only wait.
    return isRunning ? inStep(pull.trace, "wait for another pull", {}, answer) : answer();
  }

  async #run(
    request: SharedRequest<unknown>,
    pull: PullContext,
    settle: ((error?: unknown) => void) | undefined,
  ): Promise<unknown> {
    const { registry } = pull.upstream;
    const { client, userAgent, trace, warm } = pull;
    const patience = request.haveStale && registry.health.failures > 0 ? shortPatienceMs : patienceMs;
    const reason = warm ? "warm" : request.revalidates ? "revalidate" : "pull";
    const stop = warm && new AbortController();
    if (stop) this.#warm.set(keyOf(request), stop);
    const purpose = {
      reason,
      client,
      userAgent,
      ...(trace && { trace }),
      ...(stop && { overtaken: stop.signal }),
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
