/** The mirror: for every pull, the decision between what is held and what must be asked for. */
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { RegistryError, type ErrorCode } from "../oci/error.ts";
import type { Image } from "../oci/image.ts";
import type { Reference, Repository } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog } from "../store/catalog.ts";
import type { Reconciler } from "../store/repair/reconcile.ts";
import type { Fills } from "../store/fill/fills.ts";
import type { Health } from "../store/health.ts";
import type { Intake } from "../store/fill/intake.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { ProbedContent } from "../upstream/visibilityProbe.ts";
import { Access, type AccessOptions } from "./access.ts";
import { anonymousClient, type ClientIdentity } from "./identity.ts";
import type { PullResult, PullContext } from "./context.ts";
import { Explanations, type Explanation } from "./explain.ts";
import { toRegistryError } from "./errors.ts";
import { UpstreamRequests } from "./upstreamRequests.ts";
import type { QuotaPolicy } from "./quotaPolicy.ts";
import { BlobPulls, type BlobResult } from "./blobPull.ts";
import { ListPulls, type ListResult } from "./listPull.ts";
import { MissLimiter, type MissLimits } from "./missLimiter.ts";
import { ManifestPulls, type ManifestResult } from "./manifestPull.ts";
import { Policy, type PolicySettings } from "./policy.ts";
import type { MirrorUpstream } from "./alternates.ts";

export interface MirrorOptions {
  /** By source host. */
  readonly upstreams: ReadonlyMap<string, MirrorUpstream>;
  readonly blobs: Blobs;
  readonly fills: Fills;
  readonly catalog: Catalog;
  /** Told of every manifest that is asked for while it is held. */
  readonly used: (repository: Repository, digest: Digest) => void;
  readonly reconciler: Reconciler;
  /** Finds a place for blobs that are to come in. */
  readonly intake: Intake;
  readonly health: Health;
  readonly freshness: QuotaPolicy;
  readonly metrics: Metrics;
  readonly policy: PolicySettings;
  /** What each client may have asked of upstreams. */
  readonly misses: MissLimits;
  /** Aborted when the process is to end: from then on nothing is asked of upstreams any more. */
  readonly draining: AbortSignal;
  readonly now?: () => number;
  /** Who may pull what; without it everybody may pull everything. */
  readonly access?: Omit<AccessOptions, "requests" | "now" | "staleIfErrorMs">;
}

/** Answers pulls. Every method throws a RegistryError when there is nothing to serve. */
export class Mirror {
  readonly #upstreams: ReadonlyMap<string, MirrorUpstream>;
  readonly #metrics: Metrics;
  /** What stands before manifests and blobs. */
  readonly #policy: Policy;
  readonly #listings: ListPulls;
  readonly #explanations: Explanations;
  readonly #access: Access | undefined;

  constructor({
    upstreams,
    metrics,
    policy,
    misses,
    draining,
    now = Date.now,
    access,
    ...rooms
  }: MirrorOptions) {
    this.#upstreams = upstreams;
    this.#metrics = metrics;
    const inquiries = new UpstreamRequests(draining, now, new MissLimiter(misses, now));
    const fetched = (upstream: string, bytes: number): void => metrics.fetchedBytes.inc({ upstream }, bytes);
    const failed = (upstream: string, reason: string): void => metrics.fillFailures.inc({ upstream, reason });
    const bypassed = (upstream: string, reason: string): void => metrics.bypasses.inc({ upstream, reason });
    const manifests = new ManifestPulls({ ...rooms, requests: inquiries, now, fetched, bypassed });
    const layers = new BlobPulls({ ...rooms, requests: inquiries, fetched, failed, bypassed });
    this.#policy = new Policy({
      ...rooms,
      ...policy,
      manifestPulls: manifests,
      blobPulls: layers,
      requests: inquiries,
      now,
    });
    this.#listings = new ListPulls({ ...rooms, requests: inquiries, now });
    const { staleIfErrorMs } = rooms.freshness;
    this.#access = access && new Access({ ...access, requests: inquiries, now, staleIfErrorMs });
    this.#explanations = new Explanations({ ...rooms, now });
    metrics.beforeReading(() => metrics.fills.set(rooms.fills.count));
  }

  manifest(repository: Repository, reference: Reference, ask: PullContext): Promise<ManifestResult> {
    const wanted = { kind: "manifest", reference } as const;
    return this.#answer(repository, wanted, ask, "MANIFEST_UNKNOWN", (served) =>
      this.#policy.manifest(served, repository, reference, ask),
    );
  }

  blob(repository: Repository, digest: Digest, ask: PullContext): Promise<BlobResult> {
    return this.#answer(repository, { kind: "blob", digest }, ask, "BLOB_UNKNOWN", (served) =>
      this.#policy.blob(served, repository, digest, ask),
    );
  }

  tags(repository: Repository, ask: PullContext): Promise<ListResult<string>> {
    return this.#answer(repository, { kind: "tags" }, ask, "NAME_UNKNOWN", (served) =>
      this.#policy.list(repository, () => this.#listings.tags(served, repository, ask)),
    );
  }

  referrers(repository: Repository, subject: Digest, ask: PullContext): Promise<ListResult<Descriptor>> {
    return this.#answer(repository, { kind: "referrers", subject }, ask, "NAME_UNKNOWN", (served) =>
      this.#policy.list(repository, () => this.#listings.referrers(served, repository, subject, ask)),
    );
  }

  /** What a pull of `image` would meet now, told to `asker`. Nothing is asked of the upstream. */
  async explain(image: Image, asker: ClientIdentity): Promise<Explanation> {
    const served = this.#serve(image);
    // What rules have found out is not for everybody either.
    if (!(await this.mayKnow(asker, image))) return this.#explanations.hidden(served, image);
    return this.#policy.explain(image, (image) => this.#explanations.of(served, image));
  }

  /** May `asker` be told what is held of `repository`? Nothing is asked of the upstream. */
  async mayKnow(asker: ClientIdentity, repository: Repository): Promise<boolean> {
    return !this.#access || this.#access.mayKnow(asker, repository);
  }

  /** Forgets what was found out for rules that are gone. */
  tidy(): Promise<void> {
    return this.#policy.tidy();
  }

  async #answer<A extends PullResult>(
    repository: Repository,
    wanted: ProbedContent,
    ask: PullContext,
    absent: ErrorCode,
    decide: (served: MirrorUpstream) => Promise<A>,
  ): Promise<A> {
    const served = this.#serve(repository);
    try {
      if (this.#access) await this.#access.check(ask.identity ?? anonymousClient, repository, wanted, ask);
      const answer = await decide(served);
      const { stale } = answer;
      if (stale) {
        const upstream = served.upstream.name;
        this.#metrics.staleServed.inc({ upstream, reason: stale.reason });
        this.#metrics.staleAge.observe({ upstream }, stale.age);
      }
      return answer;
    } catch (error) {
      throw toRegistryError(error, absent, served.whenExhausted);
    }
  }

  #serve({ upstream }: Repository): MirrorUpstream {
    const served = this.#upstreams.get(upstream);
    if (!served) throw new RegistryError("NAME_UNKNOWN", undefined, { reason: "host-not-served" });
    return served;
  }
}
