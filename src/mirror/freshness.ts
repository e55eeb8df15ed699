/** How long what a tag meant, or what a list said, may be believed (RFC 9111 words; RFC 5861 section 4). */

export interface FreshnessPolicy {
  /** For how many ms a tag or list is served without asking. */
  readonly tagTtlMs: number;
  /** For how many ms after its last confirmation it may be served when the upstream cannot be asked. */
  readonly staleIfErrorMs: number;
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
