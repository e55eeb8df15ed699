/** A gauge of what is left, as an inline drawing. The numbers beside it say the same, so it is hidden from screen readers. */
import { html } from "hono/html";
import type { Markup } from "./markup.ts";

const radius = 80;
const centre = { x: 100, y: 96 };

/** A half circle of which `left` of `limit` is filled, with a mark at `reserve`. Its colour is that of the card it is in. */
export function gauge(left: number, limit: number, reserve: number): Markup {
  const share = limit > 0 ? Math.min(1, Math.max(0, left / limit)) : 0;
  const whole = Math.PI * radius;
  const arc = `M ${centre.x - radius} ${centre.y} A ${radius} ${radius} 0 0 1 ${centre.x + radius} ${centre.y}`;
  const mark = limit > 0 && reserve > 0 ? reserveMark(reserve / limit) : "";
  // Attributes, not styles: the page's policy forbids those in markup.
  return html`<svg class="gauge" viewBox="0 0 200 108" aria-hidden="true" focusable="false">
    <path class="gauge-track" d="${arc}" />
    <path
      class="gauge-value"
      d="${arc}"
      stroke-dasharray="${(share * whole).toFixed(1)} ${whole.toFixed(1)}"
    />
    ${mark}
  </svg>`;
}

function reserveMark(share: number): Markup {
  const angle = Math.PI * (1 - share);
  const at = (distance: number): string =>
    `${(centre.x + Math.cos(angle) * distance).toFixed(1)} ${(centre.y - Math.sin(angle) * distance).toFixed(1)}`;
  return html`<path class="gauge-mark" d="M ${at(radius - 12)} L ${at(radius + 12)}" />`;
}
