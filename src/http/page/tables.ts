/** The parts of the page that are tables: what was spent, what failed, and the upstreams. */
import { html } from "hono/html";
import type { SpendRow } from "../../quota/ledger.ts";
import { bytesText } from "../../async/text.ts";
import { about, counted, moment, nothing, number, section, type Markup } from "./markup.ts";
import { badge } from "./quotas.ts";
import { lookBackMs } from "./spending.ts";
import type { View } from "./view.ts";

export function spenders({ spent, now }: View): Markup {
  const title = "Who spent it";
  if (!spent) return section(title, nothing("The ledger cannot be read now; the log says why."));
  const { clients, repositories } = spent;
  if (clients.length === 0) {
    return section(title, nothing(`No client spent a pull in the last ${about(lookBackMs)}.`));
  }
  return section(title, html`${spentBy("Client", clients, now)} ${spentBy("Repository", repositories, now)}`);
}

function spentBy(what: string, rows: readonly SpendRow[], now: number): Markup {
  const most = Math.max(...rows.map(({ spent }) => spent), 1);
  return html`<div class="scroll">
    <table>
      <caption>
        By ${what.toLowerCase()}, in the last ${about(lookBackMs)}
      </caption>
      <thead>
        <tr>
          <th scope="col">${what}</th>
          <th scope="col" class="number">Pulls</th>
          <th scope="col" class="number">Refused</th>
          <th scope="col" class="number">Last</th>
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          ({ key, spent, refused, lastAt }) =>
            html`<tr>
              <th scope="row" class="name">${key}</th>
              <td class="number">
                <progress max="${most}" value="${spent}" aria-hidden="true"></progress>${number(spent)}
              </td>
              <td class="number ${refused > 0 ? "bad" : ""}">${number(refused)}</td>
              <td class="number">${moment(lastAt, now)}</td>
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

export function failed({ failures, now }: View): Markup {
  const title = "Refused and failed";
  if (failures.length === 0) return section(title, nothing("Every request got what it asked for."));
  const rows = failures.map(
    ({ at, count, client, image, status, reason }) =>
      html`<li>
        <p class="what">
          <span class="status">${status}</span> <span class="name">${shortened(image)}</span>
        </p>
        <p>${reason}</p>
        <p class="by">${count > 1 ? `${counted(count, "time")}, last ` : ""}${client}, ${moment(at, now)}</p>
      </li>`,
  );
  return section(
    title,
    html`<ol class="failures" tabindex="0" aria-label="The last of them, newest first">
      ${rows}
    </ol>`,
  );
}

/** With only the first digits of a digest. */
function shortened(image: string): string {
  return image.replace(/(@sha\d+:[0-9a-f]{12})[0-9a-f]+$/, "$1…");
}

export function upstreams({ upstreams, now }: View): Markup {
  const rows = upstreams.map(
    ({ quota, health }) =>
      html`<tr>
        <th scope="row" class="name">${quota.name}</th>
        <td>${healthText(health)}</td>
        <td>${badge(quota)}</td>
        <td class="number">${number(quota.spentInWindow)} in ${about(quota.windowSeconds * 1000)}</td>
        <td class="number">${quota.observedAt === null ? "never" : moment(quota.observedAt, now)}</td>
        <td class="number">${number(quota.saved.pulls)}</td>
        <td class="number">${bytesText(quota.saved.bytes)}</td>
      </tr>`,
  );
  return section(
    "Upstreams",
    html`<div class="scroll wide" role="region" aria-label="Table of upstreams" tabindex="0">
      <table>
        <caption>
          All that are configured
        </caption>
        <thead>
          <tr>
            <th scope="col">Upstream</th>
            <th scope="col">Health</th>
            <th scope="col">Quota</th>
            <th scope="col" class="number">Spent</th>
            <th scope="col" class="number">Limit seen</th>
            <th scope="col" class="number">Pulls saved</th>
            <th scope="col" class="number">Bytes saved</th>
          </tr>
        </thead>
        <tbody>
          ${rows}
        </tbody>
      </table>
    </div>`,
  );
}

function healthText({
  failures,
  knownDown,
}: {
  readonly failures: number;
  readonly knownDown: boolean;
}): Markup {
  if (knownDown) return html`<span class="bad">down, asked again every 5 s</span>`;
  if (failures > 0) return html`<span class="warn">${counted(failures, "failure")} in a row</span>`;
  return html`no failure`;
}
