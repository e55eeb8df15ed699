/** The mirror: for every pull, the decision between what is held and what must be asked for. */
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { RegistryError, type ErrorCode } from "../oci/error.ts";
import type { Reference, Repository } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog } from "../store/catalog.ts";
import type { Fills } from "../store/fill.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Upstream } from "../upstream/registry.ts";
import type { Answer, Ask } from "./ask.ts";
import { toRegistryError } from "./failure.ts";
import type { FreshnessPolicy } from "./freshness.ts";
import { Inquiries } from "./inquiry.ts";
import { Layers, type BlobAnswer } from "./layers.ts";
import { Listings, type ListAnswer } from "./listings.ts";
import { Manifests, type ManifestAnswer } from "./manifests.ts";

export interface MirrorOptions {
  /** By source host. */
  readonly upstreams: ReadonlyMap<string, Upstream>;
  readonly blobs: Blobs;
  readonly fills: Fills;
  readonly catalog: Catalog;
  readonly freshness: FreshnessPolicy;
  readonly metrics: Metrics;
  /** Aborted when the process is to end: from then on nothing is asked of upstreams any more. */
  readonly draining: AbortSignal;
  readonly now?: () => number;
}

/** Answers pulls. Every method throws a RegistryError when there is nothing to serve. */
export class Mirror {
  readonly #upstreams: ReadonlyMap<string, Upstream>;
  readonly #metrics: Metrics;
  readonly #manifests: Manifests;
  readonly #layers: Layers;
  readonly #listings: Listings;

  constructor({ upstreams, metrics, draining, now = Date.now, ...rooms }: MirrorOptions) {
    this.#upstreams = upstreams;
    this.#metrics = metrics;
    const inquiries = new Inquiries(draining, now);
    const fetched = (upstream: string, bytes: number): void => metrics.fetchedBytes.inc({ upstream }, bytes);
    const failed = (upstream: string, reason: string): void => metrics.fillFailures.inc({ upstream, reason });
    this.#manifests = new Manifests({ ...rooms, inquiries, now, fetched });
    this.#layers = new Layers({ ...rooms, inquiries, fetched, failed });
    this.#listings = new Listings({ ...rooms, inquiries, now });
  }

  manifest(repository: Repository, reference: Reference, ask: Ask): Promise<ManifestAnswer> {
    return this.#answer(repository, "MANIFEST_UNKNOWN", (upstream) =>
      this.#manifests.get(upstream, repository, reference, ask),
    );
  }

  blob(repository: Repository, digest: Digest, ask: Ask): Promise<BlobAnswer> {
    return this.#answer(repository, "BLOB_UNKNOWN", (upstream) =>
      this.#layers.get(upstream, repository, digest, ask),
    );
  }

  tags(repository: Repository, ask: Ask): Promise<ListAnswer<string>> {
    return this.#answer(repository, "NAME_UNKNOWN", (upstream) =>
      this.#listings.tags(upstream, repository, ask),
    );
  }

  referrers(repository: Repository, subject: Digest, ask: Ask): Promise<ListAnswer<Descriptor>> {
    return this.#answer(repository, "NAME_UNKNOWN", (upstream) =>
      this.#listings.referrers(upstream, repository, subject, ask),
    );
  }

  async #answer<A extends Answer>(
    repository: Repository,
    absent: ErrorCode,
    decide: (upstream: Upstream) => Promise<A>,
  ): Promise<A> {
    const upstream = this.#upstreams.get(repository.upstream);
    if (!upstream) throw new RegistryError("NAME_UNKNOWN");
    try {
      const answer = await decide(upstream);
      if (answer.stale)
        this.#metrics.staleServed.inc({ upstream: upstream.name, reason: answer.stale.reason });
      return answer;
    } catch (error) {
      throw toRegistryError(error, absent);
    }
  }
}
