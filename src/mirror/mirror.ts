/** The mirror: for every pull, the decision between what is held and what must be asked for. */
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { RegistryError, type ErrorCode } from "../oci/error.ts";
import type { Image } from "../oci/image.ts";
import type { Reference, Repository } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog } from "../store/catalog.ts";
import type { Custody } from "../store/custody.ts";
import type { Fills } from "../store/fills.ts";
import type { Health } from "../store/health.ts";
import type { Intake } from "../store/intake.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Wanted } from "../upstream/witness.ts";
import { Access, type AccessOptions } from "./access.ts";
import { nobody, type Asker } from "./asker.ts";
import type { Answer, Ask } from "./ask.ts";
import { Explanations, type Explanation } from "./explain.ts";
import { toRegistryError } from "./failure.ts";
import { Inquiries } from "./inquiry.ts";
import type { LadderPolicy } from "./ladder.ts";
import { Layers, type BlobAnswer } from "./layers.ts";
import { Listings, type ListAnswer } from "./listings.ts";
import { Misses, type MissLimits } from "./misses.ts";
import { Manifests, type ManifestAnswer } from "./manifests.ts";
import { Policy, type PolicySettings } from "./policy.ts";
import type { Served } from "./served.ts";

export interface MirrorOptions {
  /** By source host. */
  readonly upstreams: ReadonlyMap<string, Served>;
  readonly blobs: Blobs;
  readonly fills: Fills;
  readonly catalog: Catalog;
  /** Told of every manifest that is asked for while it is held. */
  readonly used: (repository: Repository, digest: Digest) => void;
  readonly custody: Custody;
  /** Finds a place for blobs that are to come in. */
  readonly intake: Intake;
  readonly health: Health;
  readonly freshness: LadderPolicy;
  readonly metrics: Metrics;
  readonly policy: PolicySettings;
  /** What each client may have asked of upstreams. */
  readonly misses: MissLimits;
  /** Aborted when the process is to end: from then on nothing is asked of upstreams any more. */
  readonly draining: AbortSignal;
  readonly now?: () => number;
  /** Who may pull what; without it everybody may pull everything. */
  readonly access?: Omit<AccessOptions, "inquiries" | "now" | "staleIfErrorMs">;
}

/** Answers pulls. Every method throws a RegistryError when there is nothing to serve. */
export class Mirror {
  readonly #upstreams: ReadonlyMap<string, Served>;
  readonly #metrics: Metrics;
  /** What stands before manifests and blobs. */
  readonly #policy: Policy;
  readonly #listings: Listings;
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
    const inquiries = new Inquiries(draining, now, new Misses(misses, now));
    const fetched = (upstream: string, bytes: number): void => metrics.fetchedBytes.inc({ upstream }, bytes);
    const failed = (upstream: string, reason: string): void => metrics.fillFailures.inc({ upstream, reason });
    const bypassed = (upstream: string, reason: string): void => metrics.bypasses.inc({ upstream, reason });
    const manifests = new Manifests({ ...rooms, inquiries, now, fetched, bypassed });
    const layers = new Layers({ ...rooms, inquiries, fetched, failed, bypassed });
    this.#policy = new Policy({ ...rooms, ...policy, manifests, layers, inquiries, now });
    this.#listings = new Listings({ ...rooms, inquiries, now });
    const { staleIfErrorMs } = rooms.freshness;
    this.#access = access && new Access({ ...access, inquiries, now, staleIfErrorMs });
    this.#explanations = new Explanations({ ...rooms, now });
    metrics.beforeReading(() => metrics.fills.set(rooms.fills.count));
  }

  manifest(repository: Repository, reference: Reference, ask: Ask): Promise<ManifestAnswer> {
    const wanted = { kind: "manifest", reference } as const;
    return this.#answer(repository, wanted, ask, "MANIFEST_UNKNOWN", (served) =>
      this.#policy.manifest(served, repository, reference, ask),
    );
  }

  blob(repository: Repository, digest: Digest, ask: Ask): Promise<BlobAnswer> {
    return this.#answer(repository, { kind: "blob", digest }, ask, "BLOB_UNKNOWN", (served) =>
      this.#policy.blob(served, repository, digest, ask),
    );
  }

  tags(repository: Repository, ask: Ask): Promise<ListAnswer<string>> {
    return this.#answer(repository, { kind: "tags" }, ask, "NAME_UNKNOWN", (served) =>
      this.#policy.list(repository, () => this.#listings.tags(served, repository, ask)),
    );
  }

  referrers(repository: Repository, subject: Digest, ask: Ask): Promise<ListAnswer<Descriptor>> {
    return this.#answer(repository, { kind: "referrers", subject }, ask, "NAME_UNKNOWN", (served) =>
      this.#policy.list(repository, () => this.#listings.referrers(served, repository, subject, ask)),
    );
  }

  /** What a pull of `image` would meet now, told to `asker`. Nothing is asked of the upstream. */
  async explain(image: Image, asker: Asker): Promise<Explanation> {
    const served = this.#serve(image);
    // What rules have found out is not for everybody either.
    if (!(await this.mayKnow(asker, image))) return this.#explanations.hidden(served, image);
    return this.#policy.explain(image, (image) => this.#explanations.of(served, image));
  }

  /** May `asker` be told what is held of `repository`? Nothing is asked of the upstream. */
  async mayKnow(asker: Asker, repository: Repository): Promise<boolean> {
    return !this.#access || this.#access.mayKnow(asker, repository);
  }

  /** Forgets what was found out for rules that are gone. */
  tidy(): Promise<void> {
    return this.#policy.tidy();
  }

  async #answer<A extends Answer>(
    repository: Repository,
    wanted: Wanted,
    ask: Ask,
    absent: ErrorCode,
    decide: (served: Served) => Promise<A>,
  ): Promise<A> {
    const served = this.#serve(repository);
    try {
      if (this.#access) await this.#access.check(ask.asker ?? nobody, repository, wanted, ask);
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

  #serve({ upstream }: Repository): Served {
    const served = this.#upstreams.get(upstream);
    if (!served) throw new RegistryError("NAME_UNKNOWN");
    return served;
  }
}
