/** The first part of the page: how many pulls each upstream with a limit has left, until when, and how many were refused. */
import { html } from "hono/html";
import { stateMeanings, type Snapshot } from "../../quota/snapshot.ts";
import { bytesText } from "../../async/text.ts";
import { burnDown } from "./burnDown.ts";
import { forecast, refusals } from "./forecast.ts";
import { gauge } from "./gauge.ts";
import { about, counted, moment, nothing, number, plot, type Markup } from "./markup.ts";
import type { View } from "./view.ts";

export function quotas({ upstreams, spent, now }: View): Markup {
  const limited = upstreams.map(({ quota }) => quota).filter(({ limit }) => limit !== null);
  if (limited.length === 0) return nothing("No upstream has named a limit, so none is in force.");
  return html`${limited.map((quota) => {
    const course = spent?.courses.get(quota.name);
    const curve = course && burnDown(quota, course, now);
    return card(quota, spent?.refused.get(quota.name), curve, now);
  })}`;
}

function card(
  quota: Snapshot,
  refused: { readonly count: number; readonly since: number } | undefined,
  curve: object | undefined,
  now: number,
): Markup {
  const { name, account, state, remaining, limit, reserve, windowSeconds } = quota;
  const window = about(windowSeconds * 1000);
  return html`<article class="card quota ${state}" aria-label="Quota of ${name}">
    <header>
      <h2>${name}</h2>
      <p class="account">${account === "anonymous" ? "anonymous" : `account ${account}`}</p>
      ${badge(quota)}
    </header>
    <div class="level">
      <div class="dial">
        ${gauge(remaining ?? 0, limit ?? 0, reserve ?? 0)}
        <p class="left"><strong>${number(remaining ?? 0)}</strong> of ${number(limit ?? 0)} pulls left</p>
      </div>
      <div class="words">
        <p class="forecast">${forecast(quota, now)}</p>
        <p class="refusals">${refusals(refused, now)}</p>
        <p class="meaning">${sentence(stateMeanings[state])}</p>
      </div>
      ${facts(quota, window, now)}
    </div>
    ${
      curve &&
      html`<figure>
        ${plot(curve, `Pulls of ${name} that were left over the last ${window}, and what is expected`)}
        <figcaption>
          Pulls left over the last ${window}, as Hubcap spent them; dashed, what is
          expected${remaining === 0 ? " to come back" : " at the last hour’s pace"}.
          ${reserve ? html`Below the line at ${number(reserve)}, only images that are not held are pulled.` : ""}
        </figcaption>
      </figure>`
    }
  </article>`;
}

/** The state's name, with a shape that differs where the colour does. */
export function badge({ state, rehearsal }: Snapshot): Markup {
  const text = rehearsal ? `${state}, rehearsed` : state;
  return html`<p class="badge ${state}"><span class="mark" aria-hidden="true"></span>${text}</p>`;
}

function facts(quota: Snapshot, window: string, now: number): Markup {
  const {
    limit,
    remaining,
    spentInWindow,
    burnPerHour,
    reserve,
    inFlight,
    setAside,
    waiting,
    nextFreeAt,
    saved,
    learntFrom,
    observedAt,
  } = quota;
  // What the upstream counts and the ledger does not.
  const others = quota.rehearsal ? 0 : (limit ?? 0) - (remaining ?? 0) - spentInWindow;
  const learnt = {
    headers: "its responses",
    token: "its token",
    config: "the configuration",
    none: "its documentation",
  };
  return html`<dl class="facts">
    ${fact("Spent", html`${number(spentInWindow)} in ${window}, ${number(burnPerHour)} in the last hour`)}
    ${others > 0 && fact("By others", html`${number(others)} that Hubcap did not spend`)}
    ${fact("One more", nextFreeAt === null ? "all are there" : moment(nextFreeAt, now))}
    ${fact("Reserve", `the last ${number(reserve ?? 0)}`)}
    ${fact("Under way", html`${number(inFlight)}, waiting ${number(waiting)}`)}
    ${fact("Set aside", html`${number(setAside)} for images that were begun`)}
    ${fact("Saved", html`${counted(saved.pulls, "pull")}, ${bytesText(saved.bytes)}`)}
    ${fact("Limit from", html`${learnt[learntFrom]}${observedAt && html`, ${moment(observedAt, now)}`}`)}
  </dl>`;
}

function fact(name: string, value: Markup | string): Markup {
  return html`<div>
    <dt>${name}</dt>
    <dd>${value}</dd>
  </div>`;
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
