/** Verdicts on single manifests: each is come to once for all who wait for it, and remembered while it holds. */
import { LRUCache } from "lru-cache";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { readManifest, type Manifest } from "../oci/manifest.ts";
import { formatImage, type Repository, type Tag } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog, HeldManifest, PolicyName, Verdict, Verdicts } from "../store/catalog.ts";
import type { Sightings } from "../store/state.ts";
import type { Signed } from "../trust/signature.ts";
import { SingleFlight } from "../async/concurrency.ts";
import type { PullContext } from "./context.ts";
import {
  checkImage,
  foreignPlatform,
  isCompanion,
  isDocument,
  isWanted,
  maxDocumentBytes,
  type ImageConfig,
  readImageConfig,
} from "./imageChecks.ts";
import { unlessAbsent } from "./errors.ts";
import type { UpstreamRequests } from "./upstreamRequests.ts";
import type { BlobPulls } from "./blobPull.ts";
import type { ManifestPulls } from "./manifestPull.ts";
import type { Decision } from "./policyRules.ts";
import { Signatures } from "./signatures.ts";
import { readSmall } from "./smallBlobs.ts";

export interface ManifestVerdictsOptions {
  readonly verdicts: Verdicts;
  readonly sightings: Sightings;
  readonly catalog: Pick<Catalog, "manifest">;
  readonly blobs: Pick<Blobs, "read">;
  readonly manifestPulls: Pick<ManifestPulls, "get">;
  readonly blobPulls: Pick<BlobPulls, "get">;
  readonly requests: UpstreamRequests;
  readonly now: () => number;
}

/** A manifest with its bytes. */
export interface WholeManifest {
  readonly manifest: HeldManifest;
  readonly bytes: Buffer;
  /** What the bytes say, once they have been read. */
  parsed?: Manifest | undefined;
}

function parsedOf(whole: WholeManifest): Manifest {
  return (whole.parsed ??= readManifest(whole.bytes, whole.manifest.mediaType));
}

/** The largest config that is read, in bytes. */
const maxConfigBytes = 4 * 1024 * 1024;

/** How much is known without the catalog: verdicts, and parts of what is allowed. */
const remembered = 20_000;

export class ManifestVerdicts {
  readonly #options: ManifestVerdictsOptions;
  readonly #signatures: Signatures;
  readonly #known = new LRUCache<string, Verdict>({ max: remembered });
  /** What allowed manifests name. With a full disk the catalog does not know. */
  readonly #parts = new LRUCache<string, "blob" | "child">({ max: remembered });
  readonly #sighted = new LRUCache<string, true>({ max: remembered });
  readonly #running = new SingleFlight<Verdict>();

  constructor(options: ManifestVerdictsOptions) {
    this.#options = options;
    this.#signatures = new Signatures(options);
  }

  /** Notes that a manifest was seen, by `tag` or by itself. */
  async noteSighting(repository: Repository, digest: Digest, tag: Tag | undefined): Promise<void> {
    const { sightings, now } = this.#options;
    const key = `${formatImage(repository, digest)} ${tag ?? ""}`;
    if (this.#sighted.has(key)) return;
    await sightings.note(repository, digest, tag, now());
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
      const children = index ? parsedOf(index).children : [];
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

  /** What `decision` says of a manifest. @throws UpstreamError and others, when that cannot be found out now. */
  async of(pull: PullContext, whole: WholeManifest, decision: Decision): Promise<Verdict> {
    const { repository } = pull;
    const { digest } = whole.manifest;
    const known = await this.remembered(repository, digest, decision.policy);
    if (known) return known;
    // Warm requests wait behind all others, so no client waits for one.
    const key = `${pull.warm ? "warm " : ""}${keyOf(repository, digest, decision.policy)}`;
    const run = this.#running.join(key, () => this.#judge({ ...pull, head: false }, whole, decision));
    const late = `${pull.upstream.registry.name} did not answer in time what the policy has to know`;
    return this.#options.requests.wait(run, pull, late);
  }

  async #judge(pull: PullContext, whole: WholeManifest, decision: Decision): Promise<Verdict> {
    const { repository } = pull;
    const {
      manifest: { digest },
      bytes,
    } = whole;
    const { verdicts } = this.#options;
    const manifest = parsedOf(whole);
    const verdict = await this.#look(pull, { digest, bytes }, manifest, decision);
    const { policy } = decision;
    if (!verdict.refusal) {
      const { children, layers, config } = manifest;
      for (const child of children) this.#parts.set(keyOf(repository, child.digest, policy), "child");
      for (const blob of [...layers, ...(config ? [config] : [])])
        this.#parts.set(keyOf(repository, blob.digest, policy), "blob");
    }
    await verdicts.keep(repository, digest, policy, verdict);
    this.#known.set(keyOf(repository, digest, policy), verdict);
    return verdict;
  }

  async #look(
    pull: PullContext,
    image: Signed,
    manifest: Manifest,
    { requirements, policy }: Decision,
  ): Promise<Verdict> {
    const { repository } = pull;
    if (isCompanion(manifest) && (await this.#areDocuments(pull, manifest))) return {};
    const { verdicts, now } = this.#options;
    const { digest } = image;
    const facts = {
      config: () => this.#config(pull, manifest),
      sizeOf: (layer: Descriptor) => this.#sizeOf(pull, layer),
      firstSeen: async () => (await this.#firstSeen(repository, digest)) ?? now(),
    };
    const verdict = await checkImage(manifest, requirements, facts, now());
    const { signature } = requirements;
    if (verdict.refusal || !signature) return verdict;
    // A signature on an index is one on all that it names. Only indexes count here: anyone may name anything as a layer.
    const isVouchedFor =
      this.#parts.get(keyOf(repository, digest, policy)) === "child" ||
      (await verdicts.isNamedByAllowed(repository, digest, [policy], "index"));
    return isVouchedFor ? {} : this.#signatures.verdict(pull, image, signature);
  }

  /** Are the layers and the config of a companion documents? Those that are not there are not. */
  async #areDocuments(pull: PullContext, { layers, config }: Manifest): Promise<boolean> {
    for (const { digest } of config ? [...layers, config] : layers) {
      const get = () => this.#options.blobPulls.get(pull, digest);
      const bytes = await readSmall(get, maxDocumentBytes);
      if (!bytes || !isDocument(bytes)) return false;
    }
    return true;
  }

  /** By a HEAD where it is not held. An upstream that tells no size there is taken at the manifest's word. */
  async #sizeOf(pull: PullContext, { digest, size }: Descriptor): Promise<number | undefined> {
    const found = await unlessAbsent(this.#options.blobPulls.get({ ...pull, head: true }, digest));
    return found && (found.size ?? size);
  }

  async #config(pull: PullContext, { config }: Manifest): Promise<ImageConfig> {
    if (!config || config.size > maxConfigBytes) return {};
    const get = () => this.#options.blobPulls.get(pull, config.digest);
    const bytes = await readSmall(get, maxConfigBytes);
    return bytes ? readImageConfig(bytes) : {};
  }
}

function keyOf(repository: Repository, digest: Digest, policy: PolicyName): string {
  return `${policy} ${formatImage(repository, digest)}`;
}
