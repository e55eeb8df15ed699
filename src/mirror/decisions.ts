/** Verdicts on single manifests: each is come to once for all who wait for it, and remembered while it holds. */
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import { readManifest, type Manifest } from "../oci/manifest.ts";
import { formatImage, type Repository, type Tag } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog, HeldManifest } from "../store/catalog.ts";
import type { PolicyName, Verdict, Verdicts } from "../store/catalog.ts";
import type { Sightings } from "../store/state.ts";
import type { Signed } from "../trust/signature.ts";
import { SingleFlight } from "../async/singleFlight.ts";
import type { PullContext } from "./context.ts";
import {
  checkImage,
  foreignPlatform,
  isCompanion,
  isDocument,
  isWanted,
  type ImageConfig,
} from "./imageChecks.ts";
import { readImageConfig } from "./imageConfig.ts";
import { inTime, type UpstreamRequests } from "./upstreamRequests.ts";
import type { BlobPulls } from "./blobPull.ts";
import type { ManifestPulls } from "./manifestPull.ts";
import type { Decision } from "./policyRules.ts";
import type { MirrorUpstream } from "./alternates.ts";
import { Signatures } from "./signatures.ts";
import { readSmall } from "./smallBlobs.ts";

export interface ManifestDecisionsOptions {
  readonly verdicts: Verdicts;
  readonly sightings: Sightings;
  readonly catalog: Pick<Catalog, "manifest">;
  readonly blobs: Pick<Blobs, "read">;
  readonly manifestPulls: Pick<ManifestPulls, "get">;
  readonly blobPulls: Pick<BlobPulls, "get">;
  readonly requests: UpstreamRequests;
  /** Is a disk to blame that does not take what is to be remembered? */
  readonly forgives: (error: unknown) => boolean;
  readonly now: () => number;
}

/** A manifest with its bytes. */
export interface WholeManifest {
  readonly manifest: HeldManifest;
  readonly bytes: Buffer;
}

/** The largest config that is read, in bytes. */
const maxConfigBytes = 4 * 1024 * 1024;

/** Signatures, attestations and SBOMs that are looked into to see that they are no images, and the largest, in bytes. */
const maxDocuments = 64;
const maxDocumentBytes = 32 * 1024 * 1024;

/** How much is known without the catalog: verdicts, and parts of what is allowed. */
const remembered = 20_000;

export class ManifestDecisions {
  readonly #options: ManifestDecisionsOptions;
  readonly #signatures: Signatures;
  readonly #known = new LRUCache<string, Verdict>({ max: remembered });
  /** What allowed manifests name. With a full disk the catalog does not know. */
  readonly #parts = new LRUCache<string, "blob" | "child">({ max: remembered });
  readonly #sighted = new LRUCache<string, true>({ max: remembered });
  readonly #flights = new SingleFlight<Verdict>();

  constructor(options: ManifestDecisionsOptions) {
    this.#options = options;
    this.#signatures = new Signatures(options);
  }

  /** Notes that a manifest was seen, by `tag` or by itself. */
  async sight(repository: Repository, digest: Digest, tag: Tag | undefined): Promise<void> {
    const { sightings, forgives, now } = this.#options;
    const key = `${formatImage(repository, digest)} ${tag ?? ""}`;
    if (this.#sighted.has(key)) return;
    try {
      await sightings.note(repository, digest, tag, now());
    } catch (error) {
      if (!forgives(error)) throw error;
    }
    this.#sighted.set(key, true);
  }

  /** When a manifest, or an index that names it, was first seen. */
  async #firstSeen(repository: Repository, digest: Digest): Promise<number | undefined> {
    const { verdicts, sightings } = this.#options;
    return sightings.since(repository, [digest, ...(await verdicts.namersAnywhere(digest))]);
  }

  /** What was found before, if it still holds. */
  async remembered(
    repository: Repository,
    digest: Digest | undefined,
    policy: PolicyName,
  ): Promise<Verdict | undefined> {
    if (!digest) return undefined;
    const { verdicts, now } = this.#options;
    const key = keyOf(repository, digest, policy);
    const known = this.#known.get(key) ?? (await verdicts.of(repository, digest, policy));
    if (!known || (known.until !== undefined && known.until <= now())) return undefined;
    this.#known.set(key, known);
    return known;
  }

  /** The same, or what a held index says of the platform of a manifest that would have to be fetched. */
  async foreseen(
    repository: Repository,
    digest: Digest,
    { policy, requirements: { platforms } }: Decision,
  ): Promise<Verdict | undefined> {
    const known = await this.remembered(repository, digest, policy);
    if (known || !platforms) return known;
    for (const namer of await this.#options.verdicts.namers(repository, digest)) {
      const index = await this.held(repository, namer);
      const children = index ? readManifest(index.bytes, index.manifest.mediaType).children : [];
      const platform = children.find((child) => child.digest === digest)?.platform;
      // Attestations are of no platform, and for any.
      if (!platform || platform.os === "unknown" || isWanted(platform, platforms)) continue;
      return { refusal: { reason: "platform", why: foreignPlatform(platform, platforms) } };
    }
    return undefined;
  }

  /** The manifest, if this repository holds it. */
  async held(repository: Repository, digest: Digest): Promise<WholeManifest | undefined> {
    const { catalog, blobs } = this.#options;
    const manifest = await catalog.manifest(repository, digest);
    const bytes = manifest && (await blobs.read(digest, manifest.size));
    return bytes && { manifest, bytes };
  }

  /** Is a blob part of a manifest that one of these policies allows? */
  async isPart(repository: Repository, digest: Digest, policies: readonly PolicyName[]): Promise<boolean> {
    if (policies.some((policy) => this.#parts.has(keyOf(repository, digest, policy)))) return true;
    return this.#options.verdicts.isNamedByAllowed(repository, digest, policies, "any");
  }

  /** What `ruling` says of a manifest. @throws UpstreamError and others, when that cannot be found out now. */
  async of(
    served: MirrorUpstream,
    repository: Repository,
    whole: WholeManifest,
    ruling: Decision,
    ask: PullContext,
  ): Promise<Verdict> {
    const { digest } = whole.manifest;
    const known = await this.remembered(repository, digest, ruling.policy);
    if (known) return known;
    // What is found out for nobody who waits may stand behind everybody, so who waits does not wait for it.
    const key = `${ask.warm ? "ahead " : ""}${keyOf(repository, digest, ruling.policy)}`;
    const started = performance.now();
    const run = this.#flights.join(key, () =>
      this.#judge(served, repository, whole, ruling, { ...ask, head: false }),
    );
    try {
      const late = `${served.upstream.name} did not answer in time what the policy has to know`;
      return await inTime(run, ask, late);
    } finally {
      ask.upstreamMs += performance.now() - started;
    }
  }

  async #judge(
    served: MirrorUpstream,
    repository: Repository,
    { manifest: { digest, mediaType }, bytes }: WholeManifest,
    ruling: Decision,
    ask: PullContext,
  ): Promise<Verdict> {
    const { verdicts, forgives } = this.#options;
    const manifest = readManifest(bytes, mediaType);
    const verdict = await this.#look(served, repository, { digest, bytes }, manifest, ruling, ask);
    const { policy } = ruling;
    if (!verdict.refusal) {
      const { children, layers, config } = manifest;
      for (const child of children) this.#parts.set(keyOf(repository, child.digest, policy), "child");
      for (const blob of [...layers, ...(config ? [config] : [])])
        this.#parts.set(keyOf(repository, blob.digest, policy), "blob");
    }
    try {
      await verdicts.keep(repository, digest, policy, verdict);
    } catch (error) {
      if (!forgives(error)) throw error;
    }
    this.#known.set(keyOf(repository, digest, policy), verdict);
    return verdict;
  }

  async #look(
    served: MirrorUpstream,
    repository: Repository,
    image: Signed,
    manifest: Manifest,
    { requirements: demands, policy }: Decision,
    ask: PullContext,
  ): Promise<Verdict> {
    if (isCompanion(manifest) && (await this.#areDocuments(served, repository, manifest, ask))) return {};
    const { verdicts, now } = this.#options;
    const { digest } = image;
    const facts = {
      config: () => this.#config(served, repository, manifest, ask),
      firstSeen: async () => (await this.#firstSeen(repository, digest)) ?? now(),
    };
    const verdict = await checkImage(manifest, demands, facts, now());
    const { signature } = demands;
    if (verdict.refusal || !signature) return verdict;
    // A signature on an index is one on all that it names. Only indexes count here: anybody may name anything as a layer.
    const isVouchedFor =
      this.#parts.get(keyOf(repository, digest, policy)) === "child" ||
      (await verdicts.isNamedByAllowed(repository, digest, [policy], "index"));
    return isVouchedFor ? {} : this.#signatures.verdict(served, repository, image, signature, ask);
  }

  /** Are the layers of a manifest what their types say? Those that are not there, or too large to look at, are not. */
  async #areDocuments(
    served: MirrorUpstream,
    repository: Repository,
    { layers }: Manifest,
    ask: PullContext,
  ): Promise<boolean> {
    if (layers.length > maxDocuments || layers.some(({ size }) => size > maxDocumentBytes)) return false;
    for (const { digest } of layers) {
      const asked = this.#options.blobPulls.get(served, repository, digest, ask);
      const bytes = await readSmall(asked, maxDocumentBytes);
      if (!bytes || !isDocument(bytes)) return false;
    }
    return true;
  }

  async #config(
    served: MirrorUpstream,
    repository: Repository,
    { config }: Manifest,
    ask: PullContext,
  ): Promise<ImageConfig> {
    if (!config || config.size > maxConfigBytes) return {};
    const asked = this.#options.blobPulls.get(served, repository, config.digest, ask);
    const bytes = await readSmall(asked, maxConfigBytes);
    return bytes ? readImageConfig(bytes) : {};
  }
}

function keyOf(repository: Repository, digest: Digest, policy: PolicyName): string {
  return `${policy} ${formatImage(repository, digest)}`;
}
