/** The outcomes of requests over time, and what that saved. */
import { html } from "hono/html";
import { bytesText } from "../../async/text.ts";
import { sliceMs, type HistoryOutcome, type History } from "../../telemetry/history.ts";
import { moment, nothing, number, plot, section, type Markup } from "./markup.ts";
import type { View } from "./view.ts";

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

/** The distances that two bars may have, and how many bars there are then. */
const scales = [
  { stepMs: sliceMs, spans: 30 },
  { stepMs: sliceMs, spans: 90 },
  { stepMs: minuteMs, spans: 90 },
  { stepMs: 5 * minuteMs, spans: 96 },
  { stepMs: 15 * minuteMs, spans: 96 },
];

const kinds: readonly (readonly [HistoryOutcome, string, string])[] = [
  ["hit", "Hits", "held and served"],
  ["join", "Joins", "shared a download that was running"],
  ["stale", "Stale", "served though it could not be checked"],
  ["miss", "Misses", "had to be requested upstream"],
  ["error", "Failed", "got an error"],
];

export function traffic({ history, now }: View): Markup {
  const { since } = history;
  if (since === undefined) return section("What was served", nothing("Nothing has been pulled yet."));
  const hour = history.total(hourMs);
  const day = history.total(24 * hourMs);
  const body = html`<div class="scroll">
      <table>
        <caption>
          Responses to requests for manifests and blobs since
          ${moment(Math.max(since, now - 24 * hourMs), now)}
        </caption>
        <thead>
          <tr>
            <th scope="col">Outcome</th>
            <th scope="col" class="number">Last hour</th>
            <th scope="col" class="number">Last 24 h</th>
          </tr>
        </thead>
        <tbody>
          ${kinds.map(
            ([kind, name, meaning]) =>
              html`<tr>
                <th scope="row">
                  <span class="swatch ${kind}" aria-hidden="true"></span>${name} <small>${meaning}</small>
                </th>
                <td class="number">${number(hour[kind])}</td>
                <td class="number">${number(day[kind])}</td>
              </tr>`,
          )}
          <tr>
            <th scope="row">
              <span class="swatch saved" aria-hidden="true"></span>Saved <small>not fetched again</small>
            </th>
            <td class="number">${bytesText(hour.savedBytes)}</td>
            <td class="number">${bytesText(day.savedBytes)}</td>
          </tr>
        </tbody>
      </table>
    </div>
    ${plots(history, since, now)}`;
  return section("What was served", body);
}

function plots(history: History, since: number, now: number): Markup {
  const fits = scales.find(({ stepMs, spans }) => now - since < stepMs * spans) ?? scales.at(-1);
  if (!fits) return html``;
  const { stepMs, spans } = fits;
  const series = history.spans(stepMs, spans);
  const times = series.map(({ at }) => at / 1000);
  const counts = kinds.map(([kind]) => series.map((span) => span[kind]));
  const every = stepMs < minuteMs ? `${stepMs / 1000} s` : `${stepMs / minuteMs} min`;
  const outcomes = { kind: "answers", step: stepMs / 1000, times, series: counts };
  const saved = {
    kind: "saved",
    step: stepMs / 1000,
    times,
    series: [series.map((span) => span.savedBytes)],
  };
  return html`<figure>
      ${plot(outcomes, `Responses in each ${every}: hits, joins, stale, misses and failures`)}
      <figcaption>Responses in each ${every}.</figcaption>
    </figure>
    <figure>
      ${plot(saved, `Bytes saved in each ${every}`)}
      <figcaption>Bytes saved in each ${every}.</figcaption>
    </figure>`;
}
