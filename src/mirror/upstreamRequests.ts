/** Questions to upstreams: each is asked once for all who wait, within a time that a client will wait, and not again after a "no". */
import type { Reason } from "../quota/quota.ts";
import { inStep } from "../async/step.ts";
import { UpstreamError } from "../upstream/error.ts";
import { SingleFlight, unlessAborted } from "../async/singleFlight.ts";
import type { RequestOptions, Upstream } from "../upstream/registry.ts";
import { NegativeCache } from "./negativeCache.ts";
import { patienceMs, type PullContext } from "./context.ts";
import type { MissLimiter } from "./missLimiter.ts";

/** How long a question is waited for, in ms, when something stale can be served and the upstream has failed since it last answered. */
const shortPatienceMs = 2_500;

/** A client waits for what was being asked ahead, and asks for itself now: who asked ahead looks again what there is. */
export class PromotedError extends Error {
  override readonly name = "Overtaken";
}

/** A question, said so that two that are the same read the same. */
export interface SharedRequest<T> {
  readonly upstream: Upstream;
  /** What is asked about, such as `manifest docker.io/library/nginx:1.29`; a "no" is remembered under it. */
  readonly about: string;
  /** What is wanted to be known of it: questions with the same `about` and `want` share one run. */
  readonly want: "headers" | "content";
  readonly reason: Reason;
  /** Is there an answer to fall back on? */
  readonly haveStale?: boolean;
  /** Asks the upstream. */
  readonly send: (asked: RequestOptions) => Promise<T>;
}

/** All questions that are being asked now, and the recent "no"s. */
export class UpstreamRequests {
  readonly #flights = new SingleFlight<unknown>();
  /** Questions that are being asked ahead, by what takes each out of the line. */
  readonly #ahead = new Map<string, AbortController>();
  readonly #draining: AbortSignal;
  readonly #absences: NegativeCache;
  readonly #misses: MissLimiter | undefined;

  /** Without `misses`, clients may ask as much as they like. */
  constructor(draining: AbortSignal, now: () => number, misses?: MissLimiter) {
    this.#draining = draining;
    this.#misses = misses;
    this.#absences = new NegativeCache(now);
  }

  /** Is this very question being asked for somebody else? */
  isRunning(question: Pick<SharedRequest<unknown>, "about" | "want">): boolean {
    return this.#flights.has(key(question));
  }

  /** The upstream's answer. @throws UpstreamError; Overtaken, where it is asked ahead. */
  async share<T>(question: SharedRequest<T>, ask: PullContext): Promise<T> {
    const no = this.#absences.get(question.about);
    if (no) throw no;
    if (this.#draining.aborted)
      throw new UpstreamError("unreachable", "this mirror is shutting down", { reason: "shutting-down" });
    const started = performance.now();
    try {
      return await this.#answer(question, ask);
    } finally {
      ask.upstreamMs += performance.now() - started;
    }
  }

  async #answer<T>(question: SharedRequest<T>, ask: PullContext): Promise<T> {
    for (;;) {
      const id = key(question);
      // What is asked ahead may stand in line behind everybody, and may not spend what a client may.
      const isBehind = !ask.warm && this.#ahead.has(id);
      if (isBehind) this.#ahead.get(id)?.abort(new PromotedError("a client waits for this now"));
      const isBegun = this.isRunning(question);
      // Whoever begins a question pays for it, before anybody can join.
      const pay = isBegun || ask.warm ? undefined : this.#misses?.spend(ask.client, ask.address);
      const run = this.#flights.join(id, () => this.#run(question, ask, pay));
      const answer = (): Promise<unknown> => inTime(run, ask, late(question.upstream));
      try {
        // The steps of a run are those of the pull that began it; the others only wait.
        const told = isBegun ? inStep(ask.trace, "wait for another pull", {}, answer) : answer();
        // Flights of one key are of one type: the key names what is wanted.
        return (await told) as T;
      } catch (error) {
        if (ask.warm || !(error instanceof PromotedError || (isBehind && isLimited(error)))) throw error;
      }
    }
  }

  async #run<T>(question: SharedRequest<T>, ask: PullContext, pay?: (error?: unknown) => void): Promise<T> {
    const { upstream, reason, about, send } = question;
    const patience = question.haveStale && upstream.health.failures > 0 ? shortPatienceMs : patienceMs;
    const { client, userAgent, trace } = ask;
    const id = key(question);
    const overtaking = ask.warm && new AbortController();
    if (overtaking) this.#ahead.set(id, overtaking);
    const overtaken = overtaking && { overtaken: overtaking.signal };
    const purpose = { reason, client, userAgent, ...(trace && { trace }), ...overtaken };
    try {
      // The run belongs to the house: it goes on for the others when the client that began it leaves.
      const answer = await within(patience, late(upstream), (signal) => send({ purpose, signal }));
      pay?.();
      return answer;
    } catch (error) {
      pay?.(error);
      this.#absences.note(about, error);
      throw error;
    } finally {
      if (overtaking) this.#ahead.delete(id);
    }
  }
}

/** `promise`, or an UpstreamError with `message` once the client of `ask` should not be left waiting any longer. */
export function inTime<T>(promise: Promise<T>, ask: PullContext, message: string): Promise<T> {
  return within(Math.max(0, ask.deadline - performance.now()), message, () => promise);
}

async function within<T>(ms: number, message: string, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const giveUp = (): void => controller.abort(new UpstreamError("unreachable", message));
  const timer = setTimeout(giveUp, ms).unref();
  try {
    return await unlessAborted(run(controller.signal), controller.signal);
  } finally {
    clearTimeout(timer);
  }
}

function isLimited(error: unknown): boolean {
  return error instanceof UpstreamError && error.kind === "limited";
}

function late({ name }: Upstream): string {
  return `${name} did not answer in time`;
}

const key = (question: Pick<SharedRequest<unknown>, "about" | "want">): string =>
  `${question.want} ${question.about}`;
