/** A client's request, and a pull of one repository, as the mirror is given them. */
import { systemClock, type Clock } from "../../src/async/clock.ts";
import {
  type MirrorUpstream,
  anonymousClient,
  patienceMs,
  type PullContext,
  type PullRequest,
} from "../../src/mirror/context.ts";
import type { Repository } from "../../src/oci/reference.ts";
import type { Upstream } from "../../src/upstream/registry.ts";

export function requestOf(more: Partial<PullRequest> = {}, clock: Clock = systemClock): PullRequest {
  return {
    identity: anonymousClient,
    client: "node",
    payer: "node",
    userAgent: "test",
    head: false,
    deadline: clock.elapsed() + patienceMs,
    notes: { upstreamMs: 0 },
    ...more,
  };
}

/** An upstream without a limit or alternates. */
export function unlimited(registry: Upstream): MirrorUpstream {
  const quota = {
    state: "unlimited",
    rehearsal: undefined,
    left: Number.POSITIVE_INFINITY,
    worthAsking: () => false,
    isSetAside: () => false,
    foundHeld: () => {},
    giveUp: () => {},
  } as const;
  return { registry, quota, whenExhausted: "hold", alternates: [] };
}

export function pullOf(
  registry: Upstream,
  repository: Repository,
  more: Partial<PullContext> = {},
): PullContext {
  return { ...requestOf(more), upstream: unlimited(registry), repository, ...more };
}

/** The machine's clock, but for the time of day. */
export function clockAt(now: () => number): Clock {
  return { ...systemClock, now };
}
