/** Pulling manifests: a tag is resolved to a digest, a digest is held for ever. */
import type { Digest } from "../oci/digest.ts";
import { namesIn, readManifest } from "../oci/manifest.ts";
import { formatRepository, isDigest, type Reference, type Repository, type Tag } from "../oci/reference.ts";
import type { Reason } from "../quota/quota.ts";
import { inStep, type TraceStep } from "../async/step.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog, HeldManifest, TagRecord } from "../store/catalog.ts";
import type { Reconciler } from "../store/repair/reconcile.ts";
import type { Health } from "../store/health.ts";
import type { Trouble } from "../store/error.ts";
import { UpstreamError } from "../upstream/error.ts";
import type { RequestOptions } from "../upstream/registry.ts";
import type { PullResult, PullContext } from "./context.ts";
import { staleness } from "./errors.ts";
import { ageSeconds, mayServeStale } from "./freshness.ts";
import type { UpstreamRequests } from "./upstreamRequests.ts";
import { isBelieved, refusalToRevalidate, type QuotaPolicy } from "./quotaPolicy.ts";
import {
  askWithAlternates,
  type FromUpstream,
  type UpstreamRepository,
  type MirrorUpstream,
} from "./alternates.ts";

/** A manifest for a client. */
export interface ManifestResult extends PullResult {
  readonly manifest: HeldManifest;
  /** The bytes as the upstream sent them; absent when only headers were asked for and the manifest is not held. */
  readonly bytes?: Buffer;
  /** For a tag: seconds since the upstream last confirmed what it means. */
  readonly age?: number;
}

type Content = Pick<ManifestResult, "outcome" | "manifest" | "bytes">;
type Taken = Required<Pick<ManifestResult, "manifest" | "bytes">>;

export interface ManifestPullsOptions {
  readonly catalog: Catalog;
  readonly blobs: Blobs;
  readonly reconciler: Pick<Reconciler, "adopt" | "keep" | "recheck">;
  readonly health: Pick<Health, "note">;
  readonly requests: UpstreamRequests;
  readonly freshness: QuotaPolicy;
  readonly now: () => number;
  /** Told of every manifest that is asked for while it is held. */
  readonly used: (repository: Repository, digest: Digest) => void;
  /** Told the size of every manifest that was fetched. */
  readonly fetched: (upstream: string, bytes: number) => void;
  /** Told that a manifest was not stored, and why. */
  readonly bypassed: (upstream: string, reason: Trouble) => void;
}

export class ManifestPulls {
  readonly #options: ManifestPullsOptions;

  constructor(options: ManifestPullsOptions) {
    this.#options = options;
  }

  /** The manifest that `reference` means. @throws UpstreamError */
  get(
    served: MirrorUpstream,
    repository: Repository,
    reference: Reference,
    ask: PullContext,
  ): Promise<ManifestResult> {
    return isDigest(reference)
      ? this.#byDigest(served, repository, reference, ask)
      : this.#byTag(served, repository, reference, ask);
  }

  async #byTag(
    served: MirrorUpstream,
    repository: Repository,
    tag: Tag,
    ask: PullContext,
  ): Promise<ManifestResult> {
    const { catalog, now, freshness } = this.#options;
    const record = await catalog.tag(repository, tag);
    try {
      const believed =
        record && (isBelieved(record, now(), served.quota.state, freshness) || isBeyondReach(served, record));
      const manifest = believed
        ? record.descriptor
        : await this.#resolve(served, repository, tag, ask, record);
      const age = believed ? ageSeconds(record.checkedAt, now()) : 0;
      const reason = reasonOf(ask, record?.held !== undefined);
      const refusal = record && refusalToMove(served, record, manifest);
      if (refusal) throw refusal;
      return { ...(await this.#content(served, repository, manifest, ask, reason)), age };
    } catch (error) {
      if (isAbsent(error)) await catalog.forgetTag(repository, tag);
      const stale = record && (await this.#stale(repository, record, error, ask));
      if (stale) return stale;
      throw error;
    }
  }

  async #byDigest(
    served: MirrorUpstream,
    repository: Repository,
    digest: Digest,
    ask: PullContext,
  ): Promise<Content> {
    const held = await this.#held(repository, digest, ask);
    if (held) return held;
    const reason = reasonOf(ask, false);
    if (!ask.head) return this.#fetch(served, repository, digest, ask, reason);
    const { upstream } = served;
    const found = await this.#options.requests.share(
      {
        upstream,
        about: aboutDigest(repository, digest),
        want: "headers",
        reason,
        send: (asked) =>
          askWithAlternates(served, repository, (place) => this.#headers(place, repository, digest, asked)),
      },
      ask,
    );
    return { outcome: "miss", manifest: found.value };
  }

  /** The content of a manifest whose descriptor is known already. */
  async #content(
    served: MirrorUpstream,
    repository: Repository,
    manifest: HeldManifest,
    ask: PullContext,
    reason: Reason,
  ): Promise<Content> {
    const held = await this.#held(repository, manifest.digest, ask);
    if (held) return held;
    return ask.head
      ? { outcome: "miss", manifest }
      : this.#fetch(served, repository, manifest.digest, ask, reason);
  }

  async #held(repository: Repository, digest: Digest, { trace }: PullContext): Promise<Content | undefined> {
    const { catalog, reconciler: custody, used } = this.#options;
    const manifest = await catalog.manifest(repository, digest);
    if (!manifest) return undefined;
    const bytes = await this.#read(manifest, trace);
    if (bytes) {
      used(repository, digest);
      return { outcome: "hit", manifest, bytes };
    }
    await custody.recheck(digest, manifest.size);
    return undefined;
  }

  #read({ digest, size }: HeldManifest, trace: TraceStep | undefined): Promise<Buffer | undefined> {
    const { blobs } = this.#options;
    return inStep(trace, "open on disk", { "hubcap.digest": digest }, () => blobs.read(digest, size));
  }

  async #fetch(
    served: MirrorUpstream,
    repository: Repository,
    digest: Digest,
    ask: PullContext,
    reason: Reason,
  ): Promise<Content> {
    const { catalog, reconciler: custody, requests: inquiries } = this.#options;
    const { upstream, quota } = served;
    const question = {
      upstream,
      about: aboutDigest(repository, digest),
      want: "content",
      reason,
      send: async (asked: RequestOptions): Promise<Taken> => {
        if ((await catalog.blobAnywhere(digest)) === undefined) await custody.adopt(digest);
        const elsewhere = await catalog.manifestAnywhere(digest);
        const bytes = elsewhere && (await this.#read(elsewhere, asked.purpose.trace));
        if (bytes) {
          // The bytes are here, but whether this repository may have them only its upstream can say. A HEAD is free.
          const said = await upstream.headManifest(repository, digest, asked);
          if (said.digest) {
            await catalog.link(repository, digest);
            return { manifest: elsewhere, bytes };
          }
        }
        // So is this one, and its headers may tell that a pull has come free.
        if (quota.worthAsking()) await upstream.headManifest(repository, digest, asked);
        try {
          const found = await askWithAlternates(served, repository, (place) =>
            this.#take(place, repository, digest, asked),
          );
          return found.value;
        } catch (error) {
          // A tag that means what is not there is asked anew, not believed for a while.
          if (isAbsent(error)) await catalog.forgetTagsOf(repository, digest);
          throw error;
        }
      },
    } as const;
    const outcome = inquiries.isRunning(question) ? "join" : "miss";
    return { outcome, ...(await inquiries.share(question, ask)) };
  }

  /** Gets a manifest from `place`, which may cost a pull, and holds it for `repository`. */
  async #take(
    place: UpstreamRepository,
    repository: Repository,
    reference: Reference,
    asked: RequestOptions,
  ): Promise<Taken> {
    const { fetched } = this.#options;
    const got = await place.upstream.getManifest(place.repository, reference, asked);
    const { bytes, mediaType, digest } = got;
    fetched(place.upstream.name, bytes.length);
    const manifest = { digest, mediaType, size: bytes.length };
    await this.#hold(place, repository, manifest, bytes);
    return { manifest, bytes };
  }

  /** Stores a manifest. One that the disk does not take is served all the same. */
  async #hold(
    { upstream }: UpstreamRepository,
    repository: Repository,
    manifest: HeldManifest,
    bytes: Buffer,
  ): Promise<void> {
    const { blobs, catalog, reconciler: custody, health, bypassed } = this.#options;
    try {
      const read = readManifest(bytes, manifest.mediaType);
      await custody.keep(manifest.digest, async () => {
        await blobs.put(manifest.digest, bytes);
        await catalog.holdManifest(repository, manifest, namesIn(read), read.subject?.digest);
      });
    } catch (error) {
      const trouble = health.note(error);
      if (!trouble) throw error;
      bypassed(upstream.name, trouble);
    }
  }

  /** Asks what a tag means now: one HEAD, which no upstream counts, for all who wait. */
  async #resolve(
    served: MirrorUpstream,
    repository: Repository,
    tag: Tag,
    ask: PullContext,
    known: TagRecord | undefined,
  ): Promise<HeldManifest> {
    const { requests: inquiries, catalog, now } = this.#options;
    const { upstream, quota } = served;
    const haveStale = known?.held !== undefined;
    // What a HEAD says of the tag may not be had, but what its headers say of the quota is news.
    const refusal =
      haveStale && !quota.worthAsking() ? refusalToRevalidate(upstream.name, quota.state) : undefined;
    if (refusal) throw refusal;
    const send = async (asked: RequestOptions): Promise<HeldManifest> => {
      const headers = (place: UpstreamRepository) => this.#headers(place, repository, tag, asked);
      // An alternate may lag behind, and what is held is not to go back to what the tag meant before.
      const { value, alternate }: FromUpstream<HeldManifest> = haveStale
        ? { value: await headers({ upstream, repository }) }
        : await askWithAlternates(served, repository, headers);
      await catalog.resolve(repository, tag, value, now(), alternate);
      return value;
    };
    const about = `manifest ${formatRepository(repository)}:${tag}`;
    const reason = reasonOf(ask, known !== undefined);
    return inquiries.share({ upstream, about, want: "headers", reason, haveStale, send }, ask);
  }

  /** What a HEAD says. Where it leaves digest or size out, only a GET can tell. */
  async #headers(
    place: UpstreamRepository,
    repository: Repository,
    reference: Reference,
    asked: RequestOptions,
  ): Promise<HeldManifest> {
    const said = await place.upstream.headManifest(place.repository, reference, asked);
    const { digest, mediaType, size } = said;
    if (digest && size !== undefined) return { digest, mediaType, size };
    return (await this.#take(place, repository, reference, asked)).manifest;
  }

  async #stale(
    repository: Repository,
    record: TagRecord,
    error: unknown,
    ask: PullContext,
  ): Promise<ManifestResult | undefined> {
    const now = this.#options.now();
    const stale = staleness(error, record.checkedAt, now);
    if (!stale || !record.held || !mayServeStale(record.checkedAt, now, this.#options.freshness))
      return undefined;
    const held = await this.#held(repository, record.held.digest, ask);
    return held && { ...held, outcome: "stale", stale, age: stale.age };
  }
}

/** Why a tag is not followed to a manifest that it has moved to, when the one it had can be served whole and the new one not. */
function refusalToMove(
  { upstream, quota, alternates }: MirrorUpstream,
  { held }: TagRecord,
  { digest }: HeldManifest,
): UpstreamError | undefined {
  if (!held || held.digest === digest || alternates.length > 0) return undefined;
  return refusalToRevalidate(upstream.name, quota.state);
}

/** Nothing of a tag is held and nothing can be fetched for it, so that a newer meaning of it would help nobody. */
function isBeyondReach({ quota, alternates }: MirrorUpstream, { held }: TagRecord): boolean {
  return !held && quota.state === "exhausted" && alternates.length === 0 && !quota.worthAsking();
}

/** Why the upstream is asked, for content or a tag that is known already or not. */
function reasonOf({ warm: ahead }: PullContext, isKnown: boolean): Reason {
  if (ahead) return "warm";
  return isKnown ? "revalidate" : "pull";
}

function isAbsent(error: unknown): boolean {
  return error instanceof UpstreamError && error.kind === "absent";
}

function aboutDigest(repository: Repository, digest: Digest): string {
  return `manifest ${formatRepository(repository)}@${digest}`;
}
