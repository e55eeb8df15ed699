/**
 * When pulls will come back: estimates for messages, `Retry-After` and the status API.
 *
 * What may be sent is calculated in slidingWindow.ts and never relies on these. The difference: after a restart the wall
 * clock is believed about the age of carried rows, and they are expected to come back to the upstream's `remaining`.
 */
import type { WindowRow } from "./windowRows.ts";
import type { WindowView } from "./slidingWindow.ts";

const hourMs = 60 * 60 * 1000;

/** From `at` on, `tokens` pulls are left if nothing more is sent. */
interface Step {
  readonly at: number;
  readonly tokens: number;
}

/** How tokens grow from `now` on, by what leaves the window. */
function stepsOf(view: WindowView, now: number): readonly Step[] {
  const { limit, windowMs } = view.allowance;
  if (limit === undefined) return [{ at: now, tokens: Number.POSITIVE_INFINITY }];
  const leaving = view.rows.map((row) => ({
    at: row.expectedAt + windowMs + 1,
    cost: row.cost,
    comesBack: (row.counted || !row.covered) && !hasComeBack(row, windowMs, now),
  }));
  if (view.remaining !== undefined) {
    leaving.push({ at: view.observedAt + windowMs + 1, cost: 0, comesBack: false });
  }
  leaving.sort((one, other) => one.at - other.at);

  let spent = view.inFlightCost;
  for (const { cost } of leaving) spent += cost;
  let reported = view.remaining === undefined ? Number.POSITIVE_INFINITY : view.remaining - view.inFlightCost;
  const steps: Step[] = [];
  let at = now;
  const tokens = (): number =>
    Math.min(limit - spent, at > view.observedAt + windowMs ? limit : reported) - view.setAside;
  for (const row of leaving) {
    if (row.at > at) {
      steps.push({ at, tokens: tokens() });
      at = row.at;
    }
    spent -= row.cost;
    if (row.comesBack && row.at > view.observedAt) reported += row.cost;
  }
  steps.push({ at, tokens: tokens() });
  return steps;
}

/** The window has dropped it already. Carried rows do not come back there, but are expected to here. */
function hasComeBack(row: WindowRow, windowMs: number, now: number): boolean {
  return !row.carried && row.settledAt + windowMs < now;
}

/** When `needed` pulls will be left if nothing more is sent; undefined when that is more than the limit. */
export function freeAt(view: WindowView, now: number, needed: number): number | undefined {
  return stepsOf(view, now).find(({ tokens }) => tokens >= needed)?.at;
}

/** When everything spent has come back; undefined when nothing is spent. */
export function fullAt(view: WindowView, now: number): number | undefined {
  const steps = stepsOf(view, now);
  const last = steps.at(-1);
  return last && last.tokens > (steps[0]?.tokens ?? 0) ? last.at : undefined;
}

/** Pulls spent in the last hour. */
export function burnPerHour(view: WindowView, now: number): number {
  let burn = view.inFlightCost;
  for (let index = view.rows.length - 1; index >= 0; index -= 1) {
    const row = view.rows[index];
    if (row === undefined || row.expectedAt + hourMs < now) break;
    burn += row.cost;
  }
  return burn;
}

/** When nothing will be left if the last hour goes on; undefined when it can go on for a whole window. */
export function emptyAt(view: WindowView, now: number): number | undefined {
  const perMs = burnPerHour(view, now) / hourMs;
  const steps = stepsOf(view, now);
  for (const [index, { tokens }] of steps.entries()) {
    if (tokens <= 0) return now;
    const end = steps[index + 1]?.at ?? now + view.allowance.windowMs;
    const empty = now + tokens / perMs;
    if (empty <= end) return Math.ceil(empty);
  }
  return undefined;
}
