/** What an upstream's failure means for a client: the one place where it becomes an OCI error or a stale answer. */
import { RegistryError, type ErrorCode } from "../oci/error.ts";
import { FillError, IntegrityError } from "../store/error.ts";
import { UpstreamError } from "../upstream/error.ts";
import type { Staleness, MirrorUpstream } from "./context.ts";
import { ageSeconds } from "./freshness.ts";
import { MissLimitError } from "./upstreamRequests.ts";

/** When a client should try again if nothing better is known, in seconds. */
const tryAgain = 5;

/**
 * The error for a client. `absent` is the code for content that the upstream does not have, `whenExhausted`
 * what a client should do when there is nothing left to spend.
 */
export function toRegistryError(
  error: unknown,
  absent: ErrorCode,
  whenExhausted: MirrorUpstream["whenExhausted"],
): unknown {
  if (error instanceof IntegrityError) {
    return new RegistryError("UPSTREAM_INVALID", `the upstream sent wrong bytes: ${error.message}`, {
      cause: error,
    });
  }
  if (error instanceof FillError && error.kind === "broken") {
    return new RegistryError("UNAVAILABLE", error.message, { cause: error, retryAfter: tryAgain });
  }
  if (!(error instanceof UpstreamError)) return error;
  const { message, reason } = error;
  const cause = { cause: error, reason };
  switch (error.kind) {
    case "absent":
      return new RegistryError(absent, message, cause);
    case "denied":
      return new RegistryError("DENIED", message, cause);
    case "limited": {
      // Who asks for too much is not to ask elsewhere instead.
      const isHeld = whenExhausted === "hold" || error instanceof MissLimitError;
      return new RegistryError(isHeld ? "TOOMANYREQUESTS" : "UNAVAILABLE", message, {
        ...cause,
        retryAfter: error.retryAfter ?? tryAgain,
      });
    }
    case "unreachable":
      return new RegistryError("UNAVAILABLE", message, {
        ...cause,
        retryAfter: error.retryAfter ?? tryAgain,
      });
    case "corrupt":
      return new RegistryError("UPSTREAM_INVALID", message, cause);
  }
}

/** What is not there is undefined; every other failure stays one, so that nothing is decided for want of an answer. */
export async function unlessAbsent<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof UpstreamError && error.kind === "absent") return undefined;
    throw error;
  }
}

/**
 * How a stale answer is labelled, or undefined when `error` forbids one: an upstream that says
 * "there is no such thing" or "not for you" has been reached and is believed.
 */
export function staleness(error: unknown, checkedAt: number, now: number): Staleness | undefined {
  if (!(error instanceof UpstreamError) || error.kind === "absent" || error.kind === "denied")
    return undefined;
  const age = ageSeconds(checkedAt, now);
  return {
    age,
    reason: error.kind,
    warning: `served from cache, last confirmed ${age} s ago: ${error.message}`,
  };
}
