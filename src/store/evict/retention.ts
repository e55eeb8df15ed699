/** What may go and what must stay: pins and retention rules, by image. */
import { matches, type Candidate, type Pattern } from "../../oci/pattern.ts";
import type { HeldImage } from "../catalog.ts";

/** The first rule whose pattern matches an image says how long it is kept. Durations are ms. */
export interface RetentionRule {
  readonly match: Pattern;
  /** Since it was fetched. */
  readonly maxAge?: number;
  /** Since it was asked for last. */
  readonly unusedFor?: number;
}

/** Is one of the pins for this image? */
export function isPinned(pins: Iterable<Pattern>, candidate: Candidate): boolean {
  for (const pin of pins) if (matches(pin, candidate)) return true;
  return false;
}

/** Why the rules let an image go at `now`, or undefined when they do not. Times in the future, from a clock that was ahead, are as old as they are far. */
export function expiry(
  rules: readonly RetentionRule[],
  candidate: Candidate & Pick<HeldImage, "heldAt" | "usedAt">,
  now: number,
): "age" | "unused" | undefined {
  const rule = rules.find(({ match }) => matches(match, candidate));
  if (rule?.maxAge !== undefined && Math.abs(now - candidate.heldAt) > rule.maxAge) return "age";
  if (rule?.unusedFor !== undefined && Math.abs(now - candidate.usedAt) > rule.unusedFor) return "unused";
  return undefined;
}
