/** The mirror: for every pull, the decision between what is held and what must be requested. */
import type { Clock } from "../async/clock.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { RegistryError } from "../oci/error.ts";
import type { Image } from "../oci/image.ts";
import type { Reference, Repository } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog } from "../store/catalog.ts";
import type { Reconciler } from "../store/repair/reconcile.ts";
import type { Fills } from "../store/fill/fills.ts";
import type { Health } from "../store/health.ts";
import type { Intake } from "../store/fill/intake.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { Access, type AccessOptions } from "./access.ts";
import type { ClientIdentity, PullContext, PullRequest, PullResult, MirrorUpstream } from "./context.ts";
import { Explanations, type Explanation } from "./explain.ts";
import { toRegistryError } from "./errors.ts";
import { UpstreamRequests, MissLimiter, type MissLimits } from "./upstreamRequests.ts";
import type { FreshnessPolicy } from "./freshness.ts";
import { BlobPulls, type BlobResult } from "./blobPull.ts";
import { ListPulls, type ListResult } from "./listPull.ts";
import { ManifestIntake, ManifestPulls, type ManifestResult } from "./manifestPull.ts";
import { Policy, type PolicySettings } from "./policy.ts";

export interface MirrorOptions {
  /** By source host. */
  readonly upstreams: ReadonlyMap<string, MirrorUpstream>;
  readonly blobs: Blobs;
  readonly fills: Fills;
  readonly catalog: Catalog;
  /** Called for every manifest that is asked for while it is held. */
  readonly used: (repository: Repository, digest: Digest) => void;
  readonly reconciler: Reconciler;
  /** Finds space for blobs that are to come in. */
  readonly intake: Intake;
  readonly health: Health;
  readonly freshness: FreshnessPolicy;
  readonly metrics: Metrics;
  readonly policy: PolicySettings;
  /** How often each client may miss. */
  readonly misses: MissLimits;
  /** Aborted when the process is to end: from then on nothing is requested from upstreams. */
  readonly draining: AbortSignal;
  readonly clock: Clock;
  /** Called when a manifest that was served could not be stored, and the disk is not to blame. */
  readonly failed: (error: unknown) => void;
  /** Which client may pull what; without it all may pull everything. */
  readonly access?: Omit<AccessOptions, "requests" | "clock" | "staleIfErrorMs">;
}

/** Answers pulls. Every method throws a RegistryError when there is nothing to serve. */
export class Mirror {
  readonly #upstreams: ReadonlyMap<string, MirrorUpstream>;
  readonly #metrics: Metrics;
  /** Every manifest and blob passes it, if there is a rule. */
  readonly #policy: Policy;
  readonly #manifestPulls: ManifestPulls;
  readonly #blobPulls: BlobPulls;
  readonly #lists: ListPulls;
  readonly #manifestIntake: ManifestIntake;
  readonly #explanations: Explanations;
  readonly #access: Access | undefined;

  constructor({ upstreams, metrics, policy, misses, draining, access, ...rest }: MirrorOptions) {
    const { catalog, blobs, reconciler, health, clock, freshness, failed } = rest;
    const now = (): number => clock.now();
    const fetched = (upstream: string, bytes: number): void => metrics.fetchedBytes.inc({ upstream }, bytes);
    const bypassed = (upstream: string, reason: string): void => metrics.bypasses.inc({ upstream, reason });
    const fillFailed = (upstream: string, reason: string): void =>
      metrics.fillFailures.inc({ upstream, reason });
    const requests = new UpstreamRequests(draining, clock, new MissLimiter(misses, clock));
    const manifestIntake = new ManifestIntake({ catalog, blobs, reconciler, health, bypassed, failed });
    this.#manifestPulls = new ManifestPulls({ ...rest, intake: manifestIntake, requests, fetched });
    const manifestsStored = (repository: Repository) => manifestIntake.idle(repository);
    const forBlobs = { manifestsStored, failed: fillFailed, bypassed };
    this.#blobPulls = new BlobPulls({ ...rest, ...forBlobs, requests, fetched, clock });
    this.#upstreams = upstreams;
    this.#metrics = metrics;
    this.#manifestIntake = manifestIntake;
    this.#policy = new Policy({
      ...rest,
      ...policy,
      manifestIntake,
      manifestPulls: this.#manifestPulls,
      blobPulls: this.#blobPulls,
      requests,
      now,
    });
    this.#lists = new ListPulls({ catalog, requests, freshness, clock });
    const { staleIfErrorMs } = freshness;
    this.#access = access && new Access({ ...access, requests, clock, staleIfErrorMs });
    this.#explanations = new Explanations({ catalog, blobs, freshness, now });
    metrics.beforeReading(() => metrics.fills.set(rest.fills.count));
  }

  async manifest(
    repository: Repository,
    reference: Reference,
    request: PullRequest,
  ): Promise<ManifestResult> {
    const pull = this.#begin(repository, request);
    try {
      await this.#access?.check(pull, { kind: "manifest", reference });
      const found = await (this.#policy.hasRules
        ? this.#policy.manifest(pull, reference)
        : this.#manifestPulls.get(pull, reference));
      return this.#counted(pull, found);
    } catch (error) {
      throw toRegistryError(error, "MANIFEST_UNKNOWN", pull.upstream.whenExhausted);
    }
  }

  async blob(repository: Repository, digest: Digest, request: PullRequest): Promise<BlobResult> {
    const pull = this.#begin(repository, request);
    try {
      await this.#access?.check(pull, { kind: "blob", digest });
      const found = await (this.#policy.hasRules
        ? this.#policy.blob(pull, digest)
        : this.#blobPulls.get(pull, digest));
      return this.#counted(pull, found);
    } catch (error) {
      throw toRegistryError(error, "BLOB_UNKNOWN", pull.upstream.whenExhausted);
    }
  }

  async tags(repository: Repository, request: PullRequest): Promise<ListResult<string>> {
    const pull = this.#begin(repository, request);
    try {
      await this.#access?.check(pull, { kind: "tags" });
      this.#policy.checkList(repository);
      return this.#counted(pull, await this.#lists.tags(pull));
    } catch (error) {
      throw toRegistryError(error, "NAME_UNKNOWN", pull.upstream.whenExhausted);
    }
  }

  async referrers(
    repository: Repository,
    subject: Digest,
    request: PullRequest,
  ): Promise<ListResult<Descriptor>> {
    const pull = this.#begin(repository, request);
    try {
      await this.#access?.check(pull, { kind: "referrers", subject });
      this.#policy.checkList(repository);
      return this.#counted(pull, await this.#lists.referrers(pull, subject));
    } catch (error) {
      throw toRegistryError(error, "NAME_UNKNOWN", pull.upstream.whenExhausted);
    }
  }

  /** What a pull of `image` would meet now, as far as `identity` may know. Nothing is requested from the upstream. */
  async explain(image: Image, identity: ClientIdentity): Promise<Explanation> {
    const upstream = this.#upstreamOf(image);
    // What was found out for rules is not for all either.
    if (!(await this.mayKnow(identity, image))) return this.#explanations.hidden(upstream, image);
    return this.#policy.explain(image, (image, needsSignature) =>
      this.#explanations.of(upstream, image, needsSignature),
    );
  }

  /** May `identity` know what is held of `repository`? Nothing is requested from the upstream. */
  async mayKnow(identity: ClientIdentity, repository: Repository): Promise<boolean> {
    return !this.#access || this.#access.mayKnow(identity, repository);
  }

  /** Settles when the manifests that were served are stored, or could not be. */
  stored(): Promise<void> {
    return this.#manifestIntake.close();
  }

  /** Forgets what was found out for rules that are gone. */
  tidy(): Promise<void> {
    return this.#policy.tidy();
  }

  #begin(repository: Repository, request: PullRequest): PullContext {
    return { ...request, upstream: this.#upstreamOf(repository), repository };
  }

  /** Counts `result` if it is stale. */
  #counted<R extends PullResult>(pull: PullContext, result: R): R {
    const { stale } = result;
    if (stale) {
      const upstream = pull.upstream.registry.name;
      this.#metrics.staleServed.inc({ upstream, reason: stale.reason });
      this.#metrics.staleAge.observe({ upstream }, stale.age);
    }
    return result;
  }

  #upstreamOf({ upstream: host }: Repository): MirrorUpstream {
    const upstream = this.#upstreams.get(host);
    if (!upstream) throw new RegistryError("NAME_UNKNOWN", undefined, { reason: "host-not-served" });
    return upstream;
  }
}
