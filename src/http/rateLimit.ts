/** What the registry face tells clients of a quota, and what it tells the quota of clients. */
import { formatRateLimit } from "../quota/headers.ts";
import type { Snapshot } from "../quota/snapshot.ts";

/** What is asked of an upstream's bucket. */
export interface QuotaAccount {
  snapshot(): Snapshot;
  /** Counts what a client got without the upstream being asked for it. */
  saved(pulls: number, bytes: number): void;
}

/** By source host. */
export type QuotaAccounts = ReadonlyMap<string, QuotaAccount>;

/**
 * `RateLimit` and `RateLimit-Policy` for an answer that used quota, or that was refused for want of it until
 * `retryAfter` seconds from now. None without a limit.
 */
export function rateLimitHeaders(
  account: QuotaAccount | undefined,
  now: number,
  retryAfter = Number.POSITIVE_INFINITY,
): { [name: string]: string } {
  if (!account) return {};
  const { name: upstream, limit, windowSeconds, remaining, nextFreeAt } = account.snapshot();
  if (limit === null || remaining === null) return {};
  const quota = { upstream, limit, windowSeconds, remaining };
  if (nextFreeAt === null) return { ...formatRateLimit(quota) };
  const reset = Math.max(0, (Date.parse(nextFreeAt) - now) / 1000);
  // Both are rounded up, and Retry-After should not lie before `t` (draft-ietf-httpapi-ratelimit-headers-10).
  return { ...formatRateLimit({ ...quota, resetSeconds: Math.min(reset, retryAfter) }) };
}
