/** What a pull would meet now, worked out without a request to the upstream: what is held, how fresh, at what cost, and why. */
import { isIndexType } from "../oci/descriptor.ts";
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
  /** Is its first manifest held? */
  readonly isBegun: boolean;
  /** How many pulls the image still takes for one platform, at most. */
  readonly lacking: number;
}

/** An image of which nothing is held takes an index and one platform's manifest, as far as is known. */
const all = 2;

const absent = { freshness: "absent", isBegun: false, lacking: all } as const;

export class Explanations {
  readonly #options: ExplanationsOptions;

  constructor(options: ExplanationsOptions) {
    this.#options = options;
  }

  async of(upstream: MirrorUpstream, image: Image, needsSignature: boolean): Promise<Explanation> {
    const reference = referenceOf(image);
    const repository = { upstream: image.upstream, name: image.name };
    const found = isDigest(reference)
      ? await this.#digest(repository, reference)
      : await this.#tag(upstream, repository, reference);
    const lacking = found.lacking + (needsSignature && !found.isBegun ? 1 : 0);
    return explained(upstream, repository, reference, { ...found, lacking });
  }

  /** The explanation for a client that may not know what is held: as if nothing were. */
  hidden(upstream: MirrorUpstream, image: Image): Explanation {
    const reference = referenceOf(image);
    const repository = { upstream: image.upstream, name: image.name };
    const digest = isDigest(reference) ? reference : undefined;
    return explained(upstream, repository, reference, { digest, ...absent });
  }

  async #digest(repository: Repository, digest: Digest): Promise<HeldImage> {
    const lacking = await this.#lacking(repository, digest);
    if (lacking === undefined) return { digest, ...absent };
    return { digest, freshness: "fresh", isBegun: true, lacking };
  }

  async #tag(upstream: MirrorUpstream, repository: Repository, tag: Tag): Promise<HeldImage> {
    const { catalog, now, freshness } = this.#options;
    const record = await catalog.tag(repository, tag);
    if (!record) return { digest: undefined, ...absent };
    const believed = isBelieved(record, now(), upstream.quota.state, freshness);
    // While nothing may be checked, it is the manifest that was held before a tag moved that is served.
    const { digest, mediaType } = believed ? record.descriptor : (record.held ?? record.descriptor);
    const lacking = await this.#lacking(repository, digest);
    return {
      digest,
      freshness: believed ? "fresh" : "stale",
      isBegun: lacking !== undefined,
      lacking: lacking ?? (isIndexType(mediaType) ? all : 1),
    };
  }

  /** How many manifests of an image are not held; undefined when the first is not. */
  async #lacking(repository: Repository, digest: Digest): Promise<number | undefined> {
    const { catalog, blobs } = this.#options;
    const manifest = await catalog.manifest(repository, digest);
    const bytes = manifest && (await blobs.read(digest, manifest.size));
    if (!bytes) return undefined;
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
  { freshness, lacking, isBegun }: HeldImage,
): Pick<Explanation, "wouldAnswer" | "why"> {
  const { name } = upstream;
  const isDown = upstream.health.knownDown || quota.rehearsal?.mode === "down";
  if (lacking > 0) {
    const cost = lacking === 1 ? "1 pull" : `up to ${lacking} pulls`;
    // Of an image that was begun a pull may be set aside.
    const isEnough = quota.state !== "exhausted" && (isBegun || quota.left >= lacking);
    if (isEnough && !isDown) {
      return { wouldAnswer: "miss", why: `it is not held and would cost ${cost} of ${name}` };
    }
    const left = Math.max(0, quota.left);
    const few = left === 0 || isBegun ? "no pulls" : `only ${left} of the ${lacking} pulls that it takes`;
    const trouble = isDown ? `${name} does not answer` : `${few} of ${name} are left`;
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
