/**
 * Small pieces of the page, written as Hono's tagged templates, which escape everything that is put into them.
 * Not as JSX: Node strips types from the sources it runs but does not turn JSX into calls, and there is no build step.
 */
import { html } from "hono/html";
import { duration } from "../../async/text.ts";

/** HTML in which everything is escaped. */
export type Markup = ReturnType<typeof html>;

/** A moment: in UTC here, which the page's script turns into the reader's own time. */
export function moment(at: number | string, now: number): Markup {
  const iso = new Date(at).toISOString();
  const isToday = iso.slice(0, 10) === new Date(now).toISOString().slice(0, 10);
  const text = `${isToday ? "" : `${iso.slice(0, 10)} `}${iso.slice(11, 16)} UTC`;
  return html`<time datetime="${iso}">${text}</time>`;
}

/** How long it is until `at`, coarsely: `1 h 45 min`, `12 s`. */
export function until(at: number | string, now: number): string {
  return about(new Date(at).getTime() - now);
}

/** A time span as people say it: no seconds beside minutes. */
export function about(ms: number): string {
  const grain = ms < 120_000 ? 1000 : 60_000;
  return duration(Math.max(1000, Math.ceil(ms / grain) * grain));
}

/** `1 pull`, `2 pulls`; thousands are set apart. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/** With thousands set apart by a thin space, which no locale reads as a decimal sign. */
export function number(value: number): string {
  return Math.round(value)
    .toString()
    .replaceAll(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** A heading with what stands under it. */
export function section(title: string, body: Markup): Markup {
  return html`<h2>${title}</h2>
    ${body}`;
}

/** What a section says when there is nothing to show. */
export function nothing(text: string): Markup {
  return html`<p class="nothing">${text}</p>`;
}

/** The place of a plot, which the page's script draws from `data`; `label` says what it shows. */
export function plot(data: object, label: string): Markup {
  return html`<div class="plot" role="img" aria-label="${label}" data-plot="${JSON.stringify(data)}"></div>`;
}
