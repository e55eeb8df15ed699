/** What is known of a limit, and how answers and tokens change it. */
import { readRateLimit, readTokenLimit, type Headers } from "./headers.ts";
import type { LearntFrom, SavedBucket } from "./ledger.ts";
import { unlimitedWindowMs, type Quota } from "./presets.ts";
import type { Allowance } from "./slidingWindow.ts";

interface Known {
  readonly allowance: Allowance;
  readonly from: LearntFrom;
  /** The ledger's time at which the upstream last confirmed it. */
  readonly seenAt: number;
}

export interface LearntLimitsOptions {
  /** What holds until the upstream says something: the operator's word, else the preset's. */
  readonly configured: Quota | undefined;
  readonly preset: Quota | undefined;
  /** Anonymous use is never unlimited. */
  readonly hasAccount: boolean;
}

/** One upstream's limit as far as it is known. Times are the ledger's. */
export class LearntLimits {
  readonly #assumed: Omit<Known, "seenAt">;
  readonly #hasAccount: boolean;
  #known: Known;
  #source: string | undefined;

  /** Starts from what earlier processes learnt, if they did. */
  constructor(
    { configured, preset, hasAccount }: LearntLimitsOptions,
    standing: SavedBucket | undefined,
    now: number,
  ) {
    const unlimited = { limit: undefined, windowMs: unlimitedWindowMs };
    this.#assumed = { allowance: configured ?? preset ?? unlimited, from: configured ? "config" : "none" };
    this.#hasAccount = hasAccount;
    this.#known = { ...this.#assumed, seenAt: now };
    this.#source = standing?.source;
    if (standing?.learntFrom === "headers" || standing?.learntFrom === "token") {
      const { limit, windowMs, learntFrom } = standing;
      this.#known = { allowance: { limit, windowMs }, from: learntFrom, seenAt: now };
    }
  }

  get allowance(): Allowance {
    return this.#known.allowance;
  }

  get from(): LearntFrom {
    return this.#known.from;
  }

  /** Whom the upstream says it counts. */
  get source(): string | undefined {
    return this.#source;
  }

  /** Learns from the answer to a manifest's GET or HEAD; gives how many pulls it says are left. */
  readAnswer(headers: Headers, isOk: boolean, now: number): number | undefined {
    const { limit, windowMs, remaining, source } = readRateLimit(headers);
    if (source !== undefined) this.#source = source;
    if (limit !== undefined && windowMs !== undefined) {
      this.#known = { allowance: { limit, windowMs }, from: "headers", seenAt: now };
    } else if (isOk && source !== undefined && this.#hasAccount) {
      this.#hearNothing(now);
    }
    // A number without a window is some other limit's, such as GitLab's of requests per minute.
    return windowMs === undefined ? undefined : remaining;
  }

  /** Learns what a token claims, unless answers have named a limit: they say what is in force. */
  readToken(token: string, now: number): void {
    const allowance = readTokenLimit(token);
    const { from } = this.#known;
    const hasBetter = from === "headers" && this.allowance.limit !== undefined;
    if (allowance && !hasBetter) this.#known = { allowance, from: "token", seenAt: now };
  }

  /**
   * A good answer that names whom it counts, but no limit, is what Docker Hub gives to paid accounts. It may also give
   * it for single images that do not count: so a limit that the upstream once named is believed for a window longer,
   * and an operator's for ever.
   */
  #hearNothing(now: number): void {
    const { from, seenAt, allowance } = this.#known;
    if (from === "config" || (from !== "none" && now - seenAt <= allowance.windowMs)) return;
    const unlimited = { limit: undefined, windowMs: allowance.windowMs };
    const known: Omit<Known, "seenAt"> =
      this.#assumed.from === "config" ? this.#assumed : { allowance: unlimited, from: "headers" };
    this.#known = { ...known, seenAt: now };
  }
}
