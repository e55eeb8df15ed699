/** The box that explains what a pull of an image would get: a form whose result is a page, so that it needs no script. */
import { html } from "hono/html";
import type { Explanation } from "../../mirror/explain.ts";
import type { Mirror } from "../../mirror/mirror.ts";
import { anonymousClient } from "../../mirror/context.ts";
import { RegistryError } from "../../oci/error.ts";
import { parseImage } from "../../oci/image.ts";
import { formatImage } from "../../oci/reference.ts";
import type { Routing } from "../../oci/target.ts";
import { counted, type Markup } from "./markup.ts";

export interface ExplainerOptions {
  readonly mirror: Pick<Mirror, "explain">;
  readonly routing: Routing;
}

/** The box, with the explanation of `image` if there is one. */
export async function explainBox(image: string | undefined, options: ExplainerOptions): Promise<Markup> {
  const result =
    image === undefined || image.trim() === "" ? undefined : await explained(image.trim(), options);
  return html`<section class="card explain" id="explain" aria-labelledby="explain-title">
    <h2 id="explain-title">What would a pull get?</h2>
    <form method="get" action="/#explain">
      <label for="image">Image</label>
      <input
        id="image"
        name="image"
        value="${image ?? ""}"
        placeholder="nginx:1.29 or ghcr.io/org/app:v2"
        autocomplete="off"
        autocapitalize="none"
        spellcheck="false"
        maxlength="600"
        required
      />
      <button>Explain</button>
    </form>
    ${result ?? html`<p class="nothing">Worked out from what is held. The upstream is not asked, and nothing is spent.</p>`}
  </section>`;
}

async function explained(image: string, { mirror, routing }: ExplainerOptions): Promise<Markup> {
  try {
    return await shown(await mirror.explain(parseImage(image, routing), anonymousClient));
  } catch (error) {
    if (error instanceof RegistryError) return html`<p class="bad" role="alert">${error.message}</p>`;
    throw error;
  }
}

function shown({
  repository,
  reference,
  digest,
  held,
  freshness,
  cost,
  wouldAnswer,
  why,
}: Explanation): Markup {
  return html`<div class="answer" role="status">
    <p>
      <strong class="${wouldAnswer === "refused" ? "bad" : "good"}">${wouldAnswer}</strong>:
      <span class="name">${formatImage(repository, reference)}</span>, ${why}.
    </p>
    <dl class="facts">
      <div>
        <dt>Held</dt>
        <dd>${held ? "yes" : "no"}</dd>
      </div>
      <div>
        <dt>Freshness</dt>
        <dd>${freshness}</dd>
      </div>
      <div>
        <dt>Would cost</dt>
        <dd>${cost === 0 ? "nothing" : `up to ${counted(cost, "pull")}`}</dd>
      </div>
      <div class="whole">
        <dt>Digest</dt>
        <dd class="name">${digest ?? "not known"}</dd>
      </div>
    </dl>
  </div>`;
}
