/** The errors of requests that may not be sent: one sentence each, since kubelet shows it in ImagePullBackOff. */
import { duration, timestamp } from "../async/text.ts";
import { QuotaError, type QuotaErrorKind } from "./quota.ts";
import type { Allowance } from "./slidingWindow.ts";

/** The upstream and account whose quota it is. */
export interface BucketName {
  readonly upstream: string;
  /** Undefined is anonymous: the upstream counts by address. */
  readonly account: string | undefined;
}

/** A moment by the wall clock, and how far away it is. */
export interface Moment {
  readonly at: number;
  readonly inMs: number;
}

const heldAreServed = "held images are still served";

/** No pull is left, or fewer than the image takes. */
export function exhausted(
  owner: BucketName,
  { left, needed }: { readonly left: number; readonly needed: number },
  { limit, windowMs }: Allowance,
  free: Moment,
): QuotaError {
  const advice = owner.account
    ? "wait, use an image that is held, or give Hubcap an account with a higher limit"
    : "wait, use an image that is held, or give Hubcap an account to pull with";
  const few = left < 1 ? "no pull" : `${left} ${left === 1 ? "pull" : "pulls"}`;
  const next = left < 1 ? "the next one is free" : `this image takes ${needed}, which are free`;
  return refuse(
    "exhausted",
    `${nameOf(owner)} has ${few} left of ${limit} in ${duration(windowMs)}; ${next} ${when(free)}; ` +
      `${heldAreServed}; ${advice}`,
    free,
  );
}

/** What is left is kept for first pulls, or more than that is not enough. */
export function reserved(
  owner: BucketName,
  { left, kept, needed }: { readonly left: number; readonly kept: number; readonly needed: number },
  { limit, windowMs }: Allowance,
  free: Moment,
): QuotaError {
  const keptFor =
    left > kept
      ? `but ${kept} are kept for images that clients wait for, and this one takes ${needed}`
      : "which are kept for images that clients wait for";
  return refuse(
    "exhausted",
    `${nameOf(owner)} has ${Math.max(0, left)} of ${limit} pulls in ${duration(windowMs)} left, ${keptFor}; ` +
      `there will be more ${when(free)}`,
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
      `it may pull again ${when(free)}; ${heldAreServed}`,
    free,
  );
}

/** The upstream asked for a pause, or answered as if it did. */
export function paused(owner: BucketName, until: Moment): QuotaError {
  return refuse(
    "paused",
    `${owner.upstream} asked for a pause because of too many requests; the next request is sent ${when(until)}; ${heldAreServed}`,
    until,
  );
}

/** The same of nothing but `what`. */
export function limited({ upstream }: BucketName, what: string, until: Moment): QuotaError {
  return refuse(
    "limited",
    `${upstream} answered that there are too many requests for ${what}; it is requested again ${when(until)}; ${heldAreServed}`,
    until,
  );
}

/** An operator has declared a rehearsal of an outage. */
export function rehearsed(owner: BucketName, until: Moment): QuotaError {
  return refuse(
    "down",
    `an operator has declared a rehearsal of an outage of ${owner.upstream}; it ends ${when(until)}; ${heldAreServed}`,
    until,
  );
}

/** The request waited for too long. */
export function busy(owner: BucketName, waitMs: number): QuotaError {
  return new QuotaError(
    "busy",
    `too many requests to ${owner.upstream} are waiting: this one could not be sent within ` +
      `${duration(waitMs)}; try again`,
    Math.max(1, Math.ceil(waitMs / 1000)),
  );
}

/** A pull that the ledger does not have is not sent: after a restart it would not be counted. */
export function unwritable(owner: BucketName): QuotaError {
  return new QuotaError(
    "paused",
    `the pull from ${owner.upstream} cannot be written to the ledger, so it is not sent; free space for storage.root; ` +
      heldAreServed,
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
