/** How the pulls of a window were spent, by the ledger, and the forecast. */
import type { SpendSlice } from "../../quota/ledger.ts";
import type { Snapshot } from "../../quota/snapshot.ts";

/** How many points of the past are drawn; half as many of what is to come. */
const points = 120;

/** A burn-down. Times are in seconds since the epoch, as the plotting library has them; null is "not drawn here". */
export interface BurnDown {
  readonly kind: "burn-down";
  readonly limit: number;
  readonly reserve: number;
  readonly now: number;
  readonly times: readonly number[];
  /** Pulls left, as far as Hubcap spent them. */
  readonly left: readonly (number | null)[];
  /** Pulls that will be left. */
  readonly expected: readonly (number | null)[];
}

/** The distance of two points, in ms. */
export function courseStep(windowMs: number): number {
  return Math.max(1, Math.round(windowMs / points));
}

/**
 * Draws the window before now, and half a window after it: if the last hour goes on, or, when nothing is left, what comes
 * back. Undefined without a limit.
 */
export function burnDown(quota: Snapshot, course: readonly SpendSlice[], now: number): BurnDown | undefined {
  const { limit, remaining, reserve } = quota;
  if (limit === null || remaining === null) return undefined;
  const step = courseStep(quota.windowSeconds * 1000);
  const windowMs = points * step;
  const end = Math.floor(now / step) * step;
  const perStep = remaining === 0 || quota.rehearsal ? 0 : (quota.burnPerHour * step) / 3_600_000;
  const spentBefore = running(course, step, end - 2 * windowMs, end + step);

  const times: number[] = [];
  const left: (number | null)[] = [];
  const expected: (number | null)[] = [];
  for (let index = -points; index <= points / 2; index += 1) {
    const at = end + index * step;
    times.push(at / 1000);
    // What the upstream says counts now, and may be less: others spend, too.
    const own = limit - (spentBefore(at + step) - spentBefore(at + step - windowMs));
    left.push(index > 0 ? null : index === 0 ? remaining : clamp(own, limit));
    const back = spentBefore(at + step - windowMs) - spentBefore(end + step - windowMs);
    expected.push(index < 0 ? null : Math.round(clamp(remaining + back - perStep * index, limit) * 10) / 10);
  }
  return { kind: "burn-down", limit, reserve: reserve ?? 0, now: end / 1000, times, left, expected };
}

/** Gives, for a time, what was spent from `from` until before it, in steps. */
function running(
  course: readonly SpendSlice[],
  step: number,
  from: number,
  to: number,
): (at: number) => number {
  const sums = [0];
  const bySlot = new Map<number, number>();
  const slotOf = (at: number): number => Math.floor((at - from) / step);
  for (const { at, spent } of course) bySlot.set(slotOf(at), (bySlot.get(slotOf(at)) ?? 0) + spent);
  for (let slot = 0; slot < slotOf(to); slot += 1) sums.push((sums[slot] ?? 0) + (bySlot.get(slot) ?? 0));
  return (at) => sums[Math.min(Math.max(slotOf(at), 0), sums.length - 1)] ?? 0;
}

function clamp(value: number, most: number): number {
  return Math.min(most, Math.max(0, value));
}
