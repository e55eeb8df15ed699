/** What is known of upstreams' limits before they say anything (sources: docs/quota.md). */
import type { RequestKind } from "./quota.ts";

/** `limit` requests in any `windowMs` milliseconds. */
export interface Quota {
  readonly limit: number;
  readonly windowMs: number;
}

/** The known limits of one upstream, for one way of using it. */
export interface KnownLimits {
  /** Pulls per window, until the upstream says otherwise. */
  readonly quota?: Quota;
  /** Milliseconds between two pulls, where the upstream limits their rate. */
  readonly minIntervalMs?: number;
  /** Requests of any kind: stays well below what an upstream takes for abuse. */
  readonly guard: Quota;
}

const minuteMs = 60_000;
const sixHoursMs = 6 * 60 * minuteMs;

/** The window that spending is summed over where an upstream has no limit. */
export const unlimitedWindowMs = sixHoursMs;

// Nobody else names a limit on requests of any kind below this one (Artifact Registry: 60,000, ghcr.io: 44,000).
const guard: Quota = { limit: 10_000, windowMs: minuteMs };

/** The preset of `upstream`, anonymous or with an account. */
export function knownLimits(upstream: string, authenticated: boolean): KnownLimits {
  switch (upstream) {
    case "docker.io":
      return {
        quota: { limit: authenticated ? 200 : 100, windowMs: sixHoursMs },
        // "Thousands of requests per minute" from an address are taken for abuse, and it may not be ours alone.
        guard: { limit: 1000, windowMs: minuteMs },
      };
    case "public.ecr.aws":
      // One pull per second and address, ten with an account: a rate, so pulls are spaced.
      return { minIntervalMs: authenticated ? 100 : 1000, guard };
    case "quay.io":
      // "A few requests per second per IP", with bursts.
      return { guard: { limit: 30, windowMs: 5000 } };
    default:
      return { guard };
  }
}

/**
 * Pulls that a request of `kind` costs. Docker Hub counts GETs of manifests, by tag and by digest, and nothing else;
 * the same requests are written down for every upstream, so that who pulls what can be asked of all.
 */
export function costOf(kind: RequestKind): 0 | 1 {
  return kind === "manifest-get" ? 1 : 0;
}
