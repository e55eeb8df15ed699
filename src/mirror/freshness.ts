/**
 * For how long what a tag meant, or what a list said, is believed (RFC 9111 words; RFC 5861 section 4), and the degradation
 * steps: what is done without as an upstream's pulls run out.
 */
import type { BucketState } from "../quota/snapshot.ts";
import type { TagRecord } from "../store/catalog.ts";
import { UpstreamError } from "../upstream/error.ts";

export interface FreshnessPolicy {
  /** For how many ms a tag or list is served without asking. */
  readonly tagTtlMs: number;
  /** For how many ms after its last confirmation it may be served when the upstream cannot be asked. */
  readonly staleIfErrorMs: number;
  /** How many times longer tags and lists are believed once an upstream's pulls run low. */
  readonly lowTtlFactor: number;
}

/** May it be served without asking? A time that lies in the future says that the clock was set back: then no. */
export function isFresh(checkedAt: number, now: number, policy: Pick<FreshnessPolicy, "tagTtlMs">): boolean {
  return checkedAt <= now && now - checkedAt < policy.tagTtlMs;
}

/** May it be served when the upstream cannot be asked? */
export function mayServeStale(checkedAt: number, now: number, policy: FreshnessPolicy): boolean {
  return now - checkedAt <= policy.staleIfErrorMs;
}

/** Whole seconds since `checkedAt`, never negative. */
export function ageSeconds(checkedAt: number, now: number): number {
  return Math.max(0, Math.floor((now - checkedAt) / 1000));
}

/** Is so little left that what can be missed is done without? */
export function isSaving(state: BucketState): boolean {
  return state === "low" || state === "reserve" || state === "exhausted";
}

/** From `low` on, tags and lists are believed longer. */
export function policyAt(state: BucketState, policy: FreshnessPolicy): FreshnessPolicy {
  return isSaving(state) ? { ...policy, tagTtlMs: policy.tagTtlMs * policy.lowTtlFactor } : policy;
}

/** May a tag be served without asking? What an alternate said is checked as soon as its upstream can be asked. */
export function isBelieved(
  { checkedAt, alternate }: TagRecord,
  now: number,
  state: BucketState,
  policy: FreshnessPolicy,
): boolean {
  return alternate === undefined && isFresh(checkedAt, now, policyAt(state, policy));
}

/**
 * Why a held tag is not even checked: a HEAD costs nothing, but its answer may be a digest that cannot be pulled any more,
 * and then the client has neither the new image nor the old one.
 */
export function refusalToRevalidate(upstream: string, state: BucketState): UpstreamError | undefined {
  if (state === "reserve") {
    return new UpstreamError(
      "limited",
      `the last pulls of ${upstream} are kept for images that are not held`,
    );
  }
  if (state === "exhausted") return new UpstreamError("limited", `no pulls of ${upstream} are left`);
  return undefined;
}
