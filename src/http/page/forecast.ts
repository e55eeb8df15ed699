/** The forecast of a quota, in sentences. */
import { html } from "hono/html";
import type { Snapshot } from "../../quota/snapshot.ts";
import { about, counted, moment, number, until, type Markup } from "./markup.ts";

/** How long the pulls last, or when there are some again. */
export function forecast(quota: Snapshot, now: number): Markup {
  const { remaining, limit, burnPerHour, emptyAt, nextFreeAt, fullAt, rehearsal, windowSeconds } = quota;
  if (rehearsal) {
    const what = rehearsal.mode === "empty" ? "no pull is left" : "it does not answer";
    return html`An operator rehearses that ${what}, until ${moment(rehearsal.until, now)}.`;
  }
  if (remaining === 0) {
    if (nextFreeAt === null) return html`When there will be more is not known.`;
    return html`The next pull is free at <strong>${moment(nextFreeAt, now)}</strong>, in
      ${until(nextFreeAt, now)}.
      ${fullAt && html`All ${number(limit ?? 0)} are back at ${moment(fullAt, now)}.`}`;
  }
  const pace = `At the last hour’s pace of ${number(burnPerHour)} an hour`;
  if (emptyAt !== null) {
    return html`${pace}, nothing is left at <strong>${moment(emptyAt, now)}</strong>, in
      ${until(emptyAt, now)}.`;
  }
  const back = fullAt && html` All are back at ${moment(fullAt, now)}.`;
  if (burnPerHour === 0) return html`Nothing was spent in the last hour.${back}`;
  return html`${pace}, it lasts for the next ${about(windowSeconds * 1000)} and on.${back}`;
}

/** Whether clients were refused, as far as is known. */
export function refusals(
  refused: { readonly count: number; readonly since: number } | undefined,
  now: number,
): Markup {
  if (!refused) return html`Whether a client was refused cannot be read.`;
  const { count, since } = refused;
  if (count === 0) return html`No client was refused a pull since ${moment(since, now)}.`;
  return html`<strong class="bad">${counted(count, "request was", "requests were")} refused</strong> for lack
    of pulls since ${moment(since, now)}.`;
}

/** The state in one sentence, which screen readers announce: so no number in it ticks. */
export function verdict(
  quotas: readonly Snapshot[],
  down: readonly string[],
  degraded: string | undefined,
): string {
  const named = (state: Snapshot["state"]): string => list(quotas.filter((quota) => quota.state === state));
  const rehearsed = list(quotas.filter(({ rehearsal }) => rehearsal));
  const sentences = [
    degraded && `This Hubcap is degraded: ${degraded}.`,
    rehearsed && `An outage of ${rehearsed} is being rehearsed.`,
    named("exhausted") && `No pull of ${named("exhausted")} is left. What is held is still served.`,
    down.length > 0 && `${down.join(" and ")} does not answer. What is held is still served.`,
    named("reserve") && `The last pulls of ${named("reserve")} are kept for images that are not held.`,
    named("low") && `Pulls of ${named("low")} run low.`,
  ].filter((text) => typeof text === "string" && text !== "");
  return sentences.length > 0 ? sentences.join(" ") : "All pulls are served.";
}

function list(quotas: readonly Snapshot[]): string {
  return quotas.map(({ name }) => name).join(" and ");
}
