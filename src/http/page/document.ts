/** The page as one document: usable as it is, and kept up to date where scripts run. */
import { html, raw } from "hono/html";
import type { Assets } from "./assets.ts";
import { moment, type Markup } from "./markup.ts";
import type { PartName, Parts } from "./parts.ts";

export interface DocumentOptions {
  readonly assets: Assets;
  readonly parts: Parts;
  readonly explain: Markup;
  readonly now: number;
}

export function pageDocument({ assets, parts, explain, now }: DocumentOptions): Markup {
  const place = (name: PartName): Markup => raw(parts.get(name) ?? "");
  const card = (name: PartName): Markup =>
    html`<section class="card" id="${name}" data-part="${name}">${place(name)}</section>`;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <title>Hubcap</title>
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <link rel="icon" href="${assets.icon.path}" type="image/svg+xml" />
        <link rel="stylesheet" href="${assets.plotStyle.path}" />
        <link rel="stylesheet" href="${assets.style.path}" />
        <script src="${assets.plotLibrary.path}" defer></script>
        <script src="${assets.plots.path}" type="module"></script>
        <script src="${assets.script.path}" type="module"></script>
      </head>
      <body>
        <a class="skip" href="#quotas">Skip to the quotas</a>
        <header class="top">
          <h1><img src="${assets.icon.path}" alt="" width="28" height="28" /> Hubcap</h1>
          <p id="live">As of ${moment(now, now)}. <a href="/">Look again</a></p>
        </header>
        <main>
          <p class="verdict" id="verdict" data-part="verdict" role="status" aria-live="polite">
            ${place("verdict")}
          </p>
          <div class="quotas" id="quotas" data-part="quotas">${place("quotas")}</div>
          <div class="columns">
            <div>${card("failed")} ${card("spenders")} ${explain}</div>
            <div>${card("traffic")} ${card("fills")} ${card("disk")}</div>
          </div>
          ${card("upstreams")}
        </main>
        <footer>
          <nav aria-label="For programs">
            <a href="/api/v1/openapi.json">API</a>
            <a href="/metrics">Metrics</a>
            <a href="/readyz">Readiness</a>
          </nav>
        </footer>
      </body>
    </html>`;
}
