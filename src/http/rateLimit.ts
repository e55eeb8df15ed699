/** What clients are told of an upstream's quota, in the headers that the IETF drafts for it. */
import type { QuotaBucket } from "../quota/bucket.ts";
import { formatRateLimit } from "../quota/headers.ts";

/** What the registry face asks of the buckets, by source host. */
export type Buckets = ReadonlyMap<string, Pick<QuotaBucket, "snapshot" | "saved">>;

/**
 * `RateLimit` and `RateLimit-Policy` for an answer that used quota, or that was refused for want of it until
 * `retryAfter` seconds from now. None without a limit.
 */
export function rateLimitHeaders(
  bucket: Pick<QuotaBucket, "snapshot"> | undefined,
  now: number,
  retryAfter = Number.POSITIVE_INFINITY,
): { [name: string]: string } {
  if (!bucket) return {};
  const { name: upstream, limit, windowSeconds, remaining, nextFreeAt } = bucket.snapshot();
  if (limit === null || remaining === null) return {};
  const quota = { upstream, limit, windowSeconds, remaining };
  if (nextFreeAt === null) return { ...formatRateLimit(quota) };
  const reset = Math.max(0, (Date.parse(nextFreeAt) - now) / 1000);
  // Both are rounded up, and Retry-After should not lie before `t` (draft-ietf-httpapi-ratelimit-headers-10).
  return { ...formatRateLimit({ ...quota, resetSeconds: Math.min(reset, retryAfter) }) };
}
