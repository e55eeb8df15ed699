/** A bucket as the status API shows it. */
import { timestamp } from "../async/text.ts";
import type { LedgerClock, WindowView } from "./slidingWindow.ts";
import { burnPerHour, emptyAt, fullAt } from "./forecast.ts";
import type { LearntFrom } from "./ledger.ts";
/** How much is left; `unlimited` where the upstream names no limit, `unknown` before it has answered. */
export type BucketState = "ok" | "low" | "reserve" | "exhausted" | "unlimited" | "unknown";

/** What a state means for clients. */
export const stateMeanings: Readonly<Record<BucketState, string>> = {
  ok: "all pulls are allowed",
  low: "tags stay fresh for longer, and nothing is warmed",
  reserve: "what is left is kept for images that are not held",
  exhausted: "held images are served, others are refused",
  unlimited: "the upstream names no limit",
  unknown: "the upstream has not answered yet",
};

/** `empty`: as if no pull were left; `down`: as if the upstream did not answer. */
export type RehearsalMode = "empty" | "down";

export interface Rehearsal {
  readonly mode: RehearsalMode;
  /** The wall clock's time at which it ends by itself. */
  readonly until: number;
}

/** One row of `GET /api/v1/quota`. Times are RFC 3339; null is unknown. */
export interface Snapshot {
  readonly name: string;
  readonly account: string;
  /** What the upstream says it counts by: an address or an account's UUID. */
  readonly source: string | null;
  readonly state: BucketState;
  readonly limit: number | null;
  /** What `spentInWindow` is summed over, also where there is no limit. */
  readonly windowSeconds: number;
  readonly remaining: number | null;
  readonly reserve: number | null;
  readonly spentInWindow: number;
  readonly inFlight: number;
  /** How many of `remaining` are kept for the rest of images that were begun. */
  readonly setAside: number;
  readonly waiting: number;
  readonly burnPerHour: number;
  /** When nothing will be left if the last hour goes on. */
  readonly emptyAt: string | null;
  /** When there will be one pull more than now. */
  readonly nextFreeAt: string | null;
  /** When everything spent has come back. */
  readonly fullAt: string | null;
  readonly learntFrom: LearntFrom;
  readonly observedAt: string | null;
  readonly saved: { readonly pulls: number; readonly bytes: number };
  readonly rehearsal: { readonly mode: RehearsalMode; readonly until: string } | null;
}

/** Times are the ledger clock's, but for `observedAt`. */
interface Facts {
  readonly name: string;
  readonly account: string;
  readonly source: string | undefined;
  readonly state: BucketState;
  /** Undefined without a limit. */
  readonly left: number | undefined;
  readonly reserve: number;
  readonly spent: number;
  readonly inFlight: number;
  readonly setAside: number;
  readonly waiting: number;
  readonly nextFreeAt: number | undefined;
  readonly learntFrom: LearntFrom;
  /** The wall clock's. */
  readonly observedAt: number | undefined;
  readonly saved: { readonly pulls: number; readonly bytes: number };
  readonly rehearsal: Rehearsal | undefined;
}

/** The row of `facts` and the forecast. */
export function snapshotOf(facts: Facts, view: WindowView, clock: LedgerClock): Snapshot {
  const { left, state, rehearsal, observedAt } = facts;
  const now = clock.time();
  const isLimited = left !== undefined;
  const text = (time: number | undefined): string | null =>
    time === undefined || !isLimited ? null : timestamp(clock.wall(time));
  return {
    name: facts.name,
    account: facts.account,
    source: facts.source ?? null,
    state,
    limit: view.allowance.limit ?? null,
    windowSeconds: view.allowance.windowMs / 1000,
    remaining: left ?? null,
    reserve: isLimited ? facts.reserve : null,
    spentInWindow: facts.spent,
    inFlight: facts.inFlight,
    setAside: facts.setAside,
    waiting: facts.waiting,
    burnPerHour: burnPerHour(view, now),
    emptyAt: text(state === "exhausted" ? now : emptyAt(view, now)),
    nextFreeAt: text(facts.nextFreeAt),
    fullAt: text(fullAt(view, now)),
    learntFrom: facts.learntFrom,
    observedAt: observedAt === undefined ? null : timestamp(observedAt),
    saved: facts.saved,
    rehearsal: rehearsal ? { mode: rehearsal.mode, until: timestamp(rehearsal.until) } : null,
  };
}
