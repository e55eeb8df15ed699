/** What is held on disk, and what is coming in. */
import { html } from "hono/html";
import { formatRepository } from "../../oci/reference.ts";
import { bytesText } from "../../async/text.ts";
import { about, counted, nothing, number, section, type Markup } from "./markup.ts";
import type { ShownFill, View } from "./view.ts";

/** How many fills are listed; of the others only their number is shown. */
const mostFills = 12;

export function fills({ fills: { shown, hidden }, now }: View): Markup {
  const title = "Coming in";
  if (shown.length + hidden === 0) return section(title, nothing("No download is running."));
  const more = shown.length - mostFills;
  const rows = shown.slice(0, mostFills).map((fill) => row(fill, now));
  return section(
    title,
    html`<ul class="fills">
        ${rows}
      </ul>
      ${more > 0 && html`<p>And ${number(more)} more.</p>`}
      ${hidden > 0 && html`<p>${counted(hidden, "download")} of private repositories.</p>`}`,
  );
}

function row({ digest, repository, size, written, readers, startedAt }: ShownFill, now: number): Markup {
  const short = digest.slice(0, digest.indexOf(":") + 13);
  const part = size === undefined ? bytesText(written) : `${bytesText(written)} of ${bytesText(size)}`;
  const bar =
    size === undefined
      ? html`<progress aria-label="Download of ${short}"></progress>`
      : html`<progress max="${size}" value="${written}" aria-label="Download of ${short}"></progress>`;
  return html`<li>
    <p class="name">${formatRepository(repository)} <small>${short}</small></p>
    ${bar}
    <p>${part}, ${counted(readers, "client reads", "clients read")} it, for ${about(now - startedAt)}</p>
  </li>`;
}

export function disk({ disk: { capacity, held, oldestUse }, degraded, now }: View): Markup {
  const trouble = degraded && html`<p class="bad">${degraded}</p>`;
  if (!held) return section("Disk", html`${trouble}${nothing("What is held cannot be read now.")}`);
  const { bytes, blobs, manifests } = held;
  const share = capacity > 0 ? Math.round((bytes / capacity) * 100) : 0;
  return section(
    "Disk",
    html`${trouble}
      <p class="amount"><strong>${bytesText(bytes)}</strong> of ${bytesText(capacity)} held, ${share} %</p>
      <meter
        class="disk"
        min="0"
        max="${capacity}"
        high="${capacity * 0.9}"
        value="${bytes}"
        aria-label="Disk in use"
      >
        ${share} %
      </meter>
      <p>
        ${counted(manifests, "manifest")} and ${counted(Math.max(0, blobs - manifests), "other blob")}.
        ${
          oldestUse !== undefined &&
          html`The image that was unused for longest was pulled ${about(now - oldestUse)} ago.`
        }
      </p>`,
  );
}
