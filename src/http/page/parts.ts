/** The parts of the page that change while it is looked at. The first page and every update are made from these. */
import { html } from "hono/html";
import { verdict } from "./forecast.ts";
import type { Markup } from "./markup.ts";
import { quotas } from "./quotas.ts";
import { disk, fills } from "./store.ts";
import { failed, spenders, upstreams } from "./tables.ts";
import { traffic } from "./traffic.ts";
import type { View } from "./view.ts";

/** The name of each part, which is the id of its place on the page, and what fills it. */
const makers = {
  verdict: summary,
  quotas,
  traffic,
  spenders,
  failed,
  fills,
  disk,
  upstreams,
} satisfies Readonly<Record<string, (view: View) => Markup>>;

export type PartName = keyof typeof makers;

/** HTML by the part's name. */
export type Parts = ReadonlyMap<PartName, string>;

/** What fills each part now. */
export async function partsOf(view: View): Promise<Parts> {
  const parts = new Map<PartName, string>();
  for (const [name, make] of Object.entries(makers)) {
    parts.set(name as PartName, (await make(view)).toString());
  }
  return parts;
}

function summary({ upstreams, degraded }: View): Markup {
  const quotas = upstreams.map(({ quota }) => quota);
  const down = upstreams.filter(({ health }) => health.knownDown).map(({ quota }) => quota.name);
  return html`${verdict(quotas, down, degraded)}`;
}
