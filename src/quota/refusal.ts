/** What is said when a request may not be sent: one sentence each, since kubelet shows it in ImagePullBackOff. */
import type { Allowance } from "./slidingWindow.ts";
import { QuotaError, type QuotaErrorKind } from "./quota.ts";
import { timestamp } from "./snapshot.ts";

/** Whose quota it is. */
export interface BucketName {
  readonly upstream: string;
  /** Undefined: anonymous, so the upstream counts by address. */
  readonly account: string | undefined;
}

/** A moment as both clocks of a reader want it: `at` on the wall, `inMs` from now. */
export interface Moment {
  readonly at: number;
  readonly inMs: number;
}

const heldStill = "images already held here are still served";

/** No pull is left. */
export function exhausted(owner: BucketName, { limit, windowMs }: Allowance, free: Moment): QuotaError {
  const advice = owner.account
    ? "wait, use an image that is held, or give Hubcap an account with a higher limit"
    : "wait, use an image that is held, or give Hubcap an account to pull with";
  return refuse(
    "exhausted",
    `${nameOf(owner)} has no pull left of ${limit} in ${duration(windowMs)}; the next one is free ${when(free)}; ` +
      `${heldStill}; ${advice}`,
    free,
  );
}

/** What is left is kept for first pulls. */
export function reserved(
  owner: BucketName,
  left: number,
  { limit, windowMs }: Allowance,
  free: Moment,
): QuotaError {
  return refuse(
    "exhausted",
    `${nameOf(owner)} has ${Math.max(0, left)} of ${limit} pulls in ${duration(windowMs)} left, which are kept for images ` +
      `that clients wait for; there will be more ${when(free)}`,
    free,
  );
}

/** A client has spent its share. */
export function overShare(
  { upstream }: BucketName,
  client: string,
  share: number,
  { limit, windowMs }: Allowance,
  free: Moment,
): QuotaError {
  return refuse(
    "share",
    `${client} has spent its share of ${upstream}: ${share} of ${limit} pulls in ${duration(windowMs)} (quota.perClient); ` +
      `it may pull again ${when(free)}; ${heldStill}`,
    free,
  );
}

/** The upstream asked for a pause, or seems to have. */
export function paused(owner: BucketName, until: Moment): QuotaError {
  return refuse(
    "paused",
    `${owner.upstream} asked for a pause because of too many requests; it is asked again ${when(until)}; ${heldStill}`,
    until,
  );
}

/** An operator rehearses an outage. */
export function rehearsed(owner: BucketName, until: Moment): QuotaError {
  return refuse(
    "down",
    `an operator rehearses an outage of ${owner.upstream}; it ends ${when(until)}; ${heldStill}`,
    until,
  );
}

/** The turn did not come in time. */
export function busy(owner: BucketName, waitMs: number): QuotaError {
  return new QuotaError(
    "busy",
    `too many requests to ${owner.upstream} are waiting: the turn of this one did not come within ` +
      `${duration(waitMs)}; try again`,
    Math.max(1, Math.ceil(waitMs / 1000)),
  );
}

/** A pull that cannot be written down is not made: after a restart it would be made twice. */
export function unwritable(owner: BucketName): QuotaError {
  return new QuotaError(
    "paused",
    `the pull from ${owner.upstream} cannot be written to the ledger, so it is not made; free space for storage.root; ` +
      heldStill,
    10,
  );
}

function refuse(kind: Exclude<QuotaErrorKind, "busy">, message: string, { inMs }: Moment): QuotaError {
  return new QuotaError(kind, message, Math.max(1, Math.ceil(inMs / 1000)));
}

function nameOf({ upstream, account }: BucketName): string {
  return account
    ? `the account ${account} of ${upstream}`
    : `${upstream}, which counts anonymous pulls by address,`;
}

function when({ at, inMs }: Moment): string {
  return `at ${timestamp(at)} (in ${duration(Math.max(1000, inMs))})`;
}

/** The two largest units that are not zero, rounded up to the second: `1 h 4 min`, `12 s`. */
export function duration(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor((seconds % 86_400) / 3600), "h"],
    [Math.floor((seconds % 3600) / 60), "min"],
    [seconds % 60, "s"],
  ] as const;
  const from = parts.findIndex(([count]) => count > 0);
  if (from < 0) return "0 s";
  return parts
    .slice(from, from + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(" ");
}
