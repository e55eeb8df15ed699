/** What a pull would meet now, worked out without a request to the upstream: what is held, how fresh, at what cost, and why. */
import type { Digest } from "../oci/digest.ts";
import { referenceOf, type Image } from "../oci/image.ts";
import { readManifest } from "../oci/manifest.ts";
import { isDigest, type Reference, type Repository, type Tag } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog } from "../store/catalog.ts";
import { isBelieved, refusalToRevalidate, type FreshnessPolicy } from "./freshness.ts";
import type { MirrorUpstream } from "./context.ts";

/** The answer to "what would happen if a node pulled this now?". */
export interface Explanation {
  readonly repository: Repository;
  readonly reference: Reference;
  /** What the reference means, as far as that is known. */
  readonly digest: Digest | undefined;
  /** Are the manifest and, of an index, at least one platform's held? */
  readonly held: boolean;
  readonly freshness: "absent" | "fresh" | "stale";
  /** How many pulls it would cost, at most, for one platform. */
  readonly cost: number;
  readonly wouldAnswer: "hit" | "stale" | "miss" | "refused";
  /** One sentence for people. */
  readonly why: string;
}

export interface ExplanationsOptions {
  readonly catalog: Catalog;
  readonly blobs: Blobs;
  readonly freshness: FreshnessPolicy;
  readonly now: () => number;
}

/** What is held of a reference. */
interface HeldImage {
  readonly digest: Digest | undefined;
  readonly freshness: Explanation["freshness"];
  /** Manifests that a pull for one platform still lacks. */
  readonly lacking: number;
}

/** A pull of nothing that is held takes an index and one platform's manifest. */
const all = 2;

export class Explanations {
  readonly #options: ExplanationsOptions;

  constructor(options: ExplanationsOptions) {
    this.#options = options;
  }

  async of(upstream: MirrorUpstream, image: Image): Promise<Explanation> {
    const reference = referenceOf(image);
    const repository = { upstream: image.upstream, name: image.name };
    const found = isDigest(reference)
      ? await this.#digest(repository, reference)
      : await this.#tag(upstream, repository, reference);
    return explained(upstream, repository, reference, found);
  }

  /** The explanation for a client that may not know what is held: as if nothing were. */
  hidden(upstream: MirrorUpstream, image: Image): Explanation {
    const reference = referenceOf(image);
    const repository = { upstream: image.upstream, name: image.name };
    const digest = isDigest(reference) ? reference : undefined;
    return explained(upstream, repository, reference, { digest, freshness: "absent", lacking: all });
  }

  async #digest(repository: Repository, digest: Digest): Promise<HeldImage> {
    const lacking = await this.#lacking(repository, digest);
    return { digest, freshness: lacking === all ? "absent" : "fresh", lacking };
  }

  async #tag(upstream: MirrorUpstream, repository: Repository, tag: Tag): Promise<HeldImage> {
    const { catalog, now, freshness } = this.#options;
    const record = await catalog.tag(repository, tag);
    if (!record) return { digest: undefined, freshness: "absent", lacking: all };
    const believed = isBelieved(record, now(), upstream.quota.state, freshness);
    // While nothing may be checked, it is the manifest that was held before a tag moved that is served.
    const { digest } = believed ? record.descriptor : (record.held ?? record.descriptor);
    const lacking = await this.#lacking(repository, digest);
    return { digest, freshness: believed ? "fresh" : "stale", lacking };
  }

  async #lacking(repository: Repository, digest: Digest): Promise<number> {
    const { catalog, blobs } = this.#options;
    const manifest = await catalog.manifest(repository, digest);
    const bytes = manifest && (await blobs.read(digest, manifest.size));
    if (!bytes) return all;
    const { kind, children } = readManifest(bytes, manifest.mediaType);
    if (kind === "image") return 0;
    for (const child of children) if (await catalog.manifest(repository, child.digest)) return 0;
    return children.length === 0 ? 0 : 1;
  }
}

function explained(
  upstream: MirrorUpstream,
  repository: Repository,
  reference: Reference,
  found: HeldImage,
): Explanation {
  const { digest, freshness, lacking } = found;
  const held = lacking === 0;
  return { repository, reference, digest, held, freshness, cost: lacking, ...verdict(upstream, found) };
}

function verdict(
  { registry: upstream, quota, alternates }: MirrorUpstream,
  { freshness, lacking }: HeldImage,
): Pick<Explanation, "wouldAnswer" | "why"> {
  const { name } = upstream;
  const isDown = upstream.health.knownDown || quota.rehearsal?.mode === "down";
  if (lacking > 0) {
    const cost = lacking === 1 ? "1 pull" : `up to ${lacking} pulls`;
    if (quota.state !== "exhausted" && !isDown) {
      return { wouldAnswer: "miss", why: `it is not held and would cost ${cost} of ${name}` };
    }
    const trouble = isDown ? `${name} does not answer` : `no pulls of ${name} are left`;
    if (alternates.length === 0) return { wouldAnswer: "refused", why: `it is not held, and ${trouble}` };
    const others = alternates.map((other) => other.name).join(", ");
    return { wouldAnswer: "miss", why: `it is not held and ${trouble}, so it would be asked of ${others}` };
  }
  if (freshness === "fresh") return { wouldAnswer: "hit", why: "it is held" };
  const refusal = refusalToRevalidate(name, quota.state);
  if (refusal) return { wouldAnswer: "stale", why: `it is held and cannot be checked: ${refusal.message}` };
  if (isDown)
    return { wouldAnswer: "stale", why: `it is held and cannot be checked: ${name} does not answer` };
  return { wouldAnswer: "hit", why: `it is held and would first be checked at ${name}, which costs nothing` };
}
