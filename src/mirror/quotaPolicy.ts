/** What is done without as an upstream's pulls run out: each step gives up something that can be missed. */
import type { BucketState } from "../quota/snapshot.ts";
import type { TagRecord } from "../store/catalog.ts";
import { UpstreamError } from "../upstream/error.ts";
import { isFresh, type FreshnessPolicy } from "./freshness.ts";

export interface QuotaPolicy extends FreshnessPolicy {
  /** How many times longer tags and lists are believed once an upstream's pulls run low. */
  readonly lowTtlFactor: number;
}

/** Is there so little left that what can be missed is done without? */
export function isSaving(state: BucketState): boolean {
  return state === "low" || state === "reserve" || state === "exhausted";
}

/** From `low` on, tags and lists are believed longer. */
export function policyAt(state: BucketState, policy: QuotaPolicy): FreshnessPolicy {
  return isSaving(state) ? { ...policy, tagTtlMs: policy.tagTtlMs * policy.lowTtlFactor } : policy;
}

/** May a tag be served without asking? What an alternate said is checked as soon as its upstream can be asked. */
export function isBelieved(
  { checkedAt, alternate }: TagRecord,
  now: number,
  state: BucketState,
  policy: QuotaPolicy,
): boolean {
  return alternate === undefined && isFresh(checkedAt, now, policyAt(state, policy));
}

/**
 * Why a held tag is not even checked: a HEAD costs nothing, but its answer may be a digest that cannot be had any more,
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
