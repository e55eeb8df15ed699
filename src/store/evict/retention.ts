/** Whether a pin or a retention rule keeps an image. */
import { matches, type Candidate, type Pattern } from "../../oci/pattern.ts";
import type { HeldImage } from "../catalog.ts";

/** The first rule whose pattern matches an image applies to it. Durations are ms. */
export interface RetentionRule {
  readonly match: Pattern;
  /** Since it was fetched. */
  readonly maxAge?: number;
  /** Since it was asked for last. */
  readonly unusedFor?: number;
}

/** Does one of the pins match this image? */
export function isPinned(pins: Iterable<Pattern>, candidate: Candidate): boolean {
  for (const pin of pins) if (matches(pin, candidate)) return true;
  return false;
}

/** Which limit of its rule an image has passed at `now`; undefined when none. Times in the future, of a clock that was ahead, count as if as far in the past. */
export function overdue(
  rules: readonly RetentionRule[],
  candidate: Candidate & Pick<HeldImage, "heldAt" | "usedAt">,
  now: number,
): "age" | "unused" | undefined {
  const rule = rules.find(({ match }) => matches(match, candidate));
  if (rule?.maxAge !== undefined && Math.abs(now - candidate.heldAt) > rule.maxAge) return "age";
  if (rule?.unusedFor !== undefined && Math.abs(now - candidate.usedAt) > rule.unusedFor) return "unused";
  return undefined;
}
