/** Pulling manifests: a tag is resolved to a digest, a digest is held for good. */
import type { Clock } from "../async/clock.ts";
import { inStep, type TraceStep } from "../async/step.ts";
import { isIndexType } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { type Manifest, namesIn } from "../oci/manifest.ts";
import {
  formatImage,
  isDigest,
  type Reference,
  type Repository,
  type Tag,
  formatRepository,
} from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog, HeldManifest, Naming, TagRecord } from "../store/catalog.ts";
import type { Reconciler } from "../store/repair/reconcile.ts";
import { UpstreamError } from "../upstream/error.ts";
import type { RequestOptions } from "../upstream/registry.ts";
import type { PullContext, PullResult } from "./context.ts";
import { staleness } from "./errors.ts";
import {
  ageSeconds,
  isBelieved,
  mayServeStale,
  refusalToRevalidate,
  type FreshnessPolicy,
} from "./freshness.ts";
import {
  withAlternates,
  type FromUpstream,
  type UpstreamRepository,
  type UpstreamRequests,
} from "./upstreamRequests.ts";
import type { Trouble } from "../store/error.ts";
import type { Health } from "../store/health.ts";
import type { FetchedManifest } from "../upstream/exchange.ts";

/** A manifest for a client. */
export interface ManifestResult extends PullResult {
  readonly manifest: HeldManifest;
  /** The bytes as the upstream sent them; absent when only headers were asked for and the manifest is not held. */
  readonly bytes?: Buffer;
  /** What the bytes say, where they had to be read on the way. */
  readonly parsed?: Manifest;
  /** For a tag: seconds since the upstream last confirmed what it means. */
  readonly age?: number;
  /** Of a manifest that has just come in: settles when it is held, or cannot be. */
  readonly stored?: Promise<void>;
}

/** A manifest that is not held. */
interface Wanted {
  readonly digest: Digest;
  /** The upstream has said that a tag means it. */
  readonly isResolved: boolean;
  /** Where the upstream has said it. */
  readonly mediaType?: string;
  readonly revalidates?: boolean;
}

type Content = Pick<ManifestResult, "manifest" | "parsed" | "stored"> & { readonly bytes: Buffer };

export interface ManifestPullsOptions {
  readonly catalog: Catalog;
  readonly blobs: Pick<Blobs, "read">;
  readonly reconciler: Pick<Reconciler, "adopt" | "recheck">;
  readonly intake: ManifestIntake;
  readonly requests: UpstreamRequests;
  readonly freshness: FreshnessPolicy;
  readonly clock: Clock;
  /** Called for every manifest that is asked for while it is held. */
  readonly used: (repository: Repository, digest: Digest) => void;
  /** Called with the size of every manifest that was fetched. */
  readonly fetched: (upstream: string, bytes: number) => void;
}

export class ManifestPulls {
  readonly #options: ManifestPullsOptions;

  constructor(options: ManifestPullsOptions) {
    this.#options = options;
  }

  /** The manifest that `reference` means. @throws UpstreamError */
  get(pull: PullContext, reference: Reference): Promise<ManifestResult> {
    return isDigest(reference) ? this.#byDigest(pull, reference) : this.#byTag(pull, reference);
  }

  async #byTag(pull: PullContext, tag: Tag): Promise<ManifestResult> {
    const { catalog, clock } = this.#options;
    const record = await catalog.tag(pull.repository, tag);
    try {
      const isBelieved = record !== undefined && this.#isBelieved(pull, record);
      const descriptor = isBelieved ? record.descriptor : await this.#resolve(pull, tag, record);
      const age = isBelieved ? ageSeconds(record.checkedAt, clock.now()) : 0;
      if (record) checkMove(pull, record, descriptor);
      return { ...(await this.#byDescriptor(pull, descriptor, record?.held !== undefined)), age };
    } catch (error) {
      if (isAbsent(error)) await catalog.forgetTag(pull.repository, tag);
      const stale = record && (await this.#stale(pull, record, error));
      if (stale) return stale;
      throw error;
    }
  }

  async #byDigest(pull: PullContext, digest: Digest): Promise<ManifestResult> {
    const { quota } = pull.upstream;
    const held = await this.#held(pull, digest);
    if (held && quota.isSetAside(pull.repository))
      quota.foundHeld(pull.repository, digest, (await this.#naming(pull, digest)).indexes);
    if (held) return held;
    return pull.head ? this.#headers(pull, digest) : this.#fetch(pull, { digest, isResolved: false });
  }

  /** The manifest of a descriptor that the upstream gave. */
  async #byDescriptor(
    pull: PullContext,
    manifest: HeldManifest,
    revalidates: boolean,
  ): Promise<ManifestResult> {
    const held = await this.#held(pull, manifest.digest);
    if (held) return held;
    return pull.head
      ? { outcome: "miss", manifest }
      : this.#fetch(pull, { ...manifest, isResolved: true, revalidates });
  }

  /** HIT; or JOIN, where it has come in and is being stored. */
  async #held(pull: PullContext, digest: Digest): Promise<ManifestResult | undefined> {
    const { intake, used } = this.#options;
    const content = await this.#onDisk(pull.repository, digest, pull.trace);
    if (content) {
      used(pull.repository, digest);
      return { outcome: "hit", manifest: content.manifest, bytes: content.bytes };
    }
    const incoming = intake.get(pull.repository, digest);
    return incoming && { outcome: "join", ...incoming };
  }

  /** STALE: what the tag meant when it was last confirmed, unless `error` is an answer. */
  async #stale(
    pull: PullContext,
    { checkedAt, held, descriptor }: TagRecord,
    error: unknown,
  ): Promise<ManifestResult | undefined> {
    const now = this.#options.clock.now();
    const stale = staleness(error, checkedAt, now);
    if (!stale || !mayServeStale(checkedAt, now, this.#options.freshness)) return undefined;
    // Where nothing was held, it may be on its way to the disk.
    const found = await this.#held(pull, (held ?? descriptor).digest);
    return found && { ...found, outcome: "stale", stale, age: stale.age };
  }

  /** MISS; or JOIN, where it is being fetched for another client. */
  async #fetch(pull: PullContext, wanted: Wanted): Promise<ManifestResult> {
    const { requests } = this.#options;
    const request = {
      about: aboutManifest(pull, wanted.digest),
      want: "content",
      revalidates: wanted.revalidates ?? false,
      send: (options: RequestOptions) => this.#fromUpstream(pull, wanted, options),
    } as const;
    const outcome = requests.isRunning(request) ? "join" : "miss";
    return { outcome, ...(await requests.share(request, pull)) };
  }

  /** What the upstream has for all who wait for a manifest. */
  async #fromUpstream(
    pull: PullContext,
    { digest, isResolved, mediaType }: Wanted,
    options: RequestOptions,
  ): Promise<Content> {
    const { catalog, intake } = this.#options;
    const { registry, quota } = pull.upstream;
    // It may have come in while this request looked at the catalog.
    const here =
      intake.get(pull.repository, digest) ??
      (await this.#onDisk(pull.repository, digest, options.purpose.trace)) ??
      (await this.#ofAnother(pull, digest, options));
    if (here) return here;
    const naming = isResolved ? { indexes: [], tagged: mediaType } : await this.#naming(pull, digest);
    const isNamed = isResolved || naming.indexes.length > 0 || naming.tagged !== undefined;
    const partOf = pull.signatureOf ? [pull.signatureOf] : naming.indexes;
    try {
      // A HEAD is free. It tells whether there is such a manifest, which a client may have made up, and its headers may tell
      // that a pull is available again.
      if (isNamed && quota.worthAsking()) await registry.headManifest(pull.repository, digest, options);
      const take = async (source: UpstreamRepository): Promise<IncomingManifest> => {
        const head =
          isNamed || quota.left < 1
            ? { mediaType: naming.tagged }
            : await source.registry.headManifest(source.repository, digest, options);
        const image = { digest, partOf, rest: restOf(pull, head.mediaType, partOf) };
        return this.#take(pull, source, digest, { ...options, purpose: { ...options.purpose, image } });
      };
      const { value } = await withAlternates(pull, take);
      await this.#noteHeld(pull, value);
      return value;
    } catch (error) {
      quota.giveUp(pull.repository, digest);
      // A tag that means what is not there is resolved anew, not believed for a while.
      if (isAbsent(error)) await catalog.forgetTagsOf(pull.repository, digest);
      throw error;
    }
  }

  /** All that an index names may be held already, as when it was made anew from the same platforms. */
  async #noteHeld(
    { repository, upstream }: PullContext,
    { manifest, parsed }: IncomingManifest,
  ): Promise<void> {
    const { catalog, intake } = this.#options;
    const [first] = parsed.children;
    if (!first || !upstream.quota.isSetAside(repository)) return;
    for (const { digest } of parsed.children)
      if (!intake.get(repository, digest) && !(await catalog.manifest(repository, digest))) return;
    upstream.quota.foundHeld(repository, first.digest, [manifest.digest]);
  }

  async #naming({ repository }: PullContext, digest: Digest): Promise<Naming> {
    const { catalog, intake } = this.#options;
    const { indexes, tagged } = await catalog.naming(repository, digest);
    return { indexes: [...intake.indexesOf(repository, digest), ...indexes], tagged };
  }

  /** Bytes that another repository holds. Whether this one may have them, only its upstream can say, by a HEAD, which is free. */
  async #ofAnother(pull: PullContext, digest: Digest, options: RequestOptions): Promise<Content | undefined> {
    const { catalog, reconciler } = this.#options;
    if ((await catalog.blobAnywhere(digest)) === undefined) await reconciler.adopt(digest);
    const manifest = await catalog.manifestAnywhere(digest);
    const bytes = manifest && (await this.#read(manifest, options.purpose.trace));
    if (!bytes) return undefined;
    const answer = await pull.upstream.registry.headManifest(pull.repository, digest, options);
    if (!answer.digest) return undefined;
    await catalog.link(pull.repository, digest);
    return { manifest, bytes };
  }

  /** Gets a manifest from `source`, which may cost a pull, and begins to store it for the repository of `pull`. */
  async #take(
    pull: PullContext,
    source: UpstreamRepository,
    reference: Reference,
    options: RequestOptions,
  ): Promise<IncomingManifest> {
    const { fetched, intake } = this.#options;
    const manifest = await source.registry.getManifest(source.repository, reference, options);
    fetched(source.registry.name, manifest.bytes.length);
    return intake.take(source.registry.name, pull.repository, manifest);
  }

  /** What a tag means now: one HEAD, which no upstream counts, for all who wait. */
  async #resolve(pull: PullContext, tag: Tag, known: TagRecord | undefined): Promise<HeldManifest> {
    const { requests, catalog, clock } = this.#options;
    const { registry, quota } = pull.upstream;
    const haveStale = known?.held !== undefined;
    // What the tag means now may not be affordable, but the headers of a HEAD may say that it is again.
    const refusal =
      haveStale && !quota.worthAsking() ? refusalToRevalidate(registry.name, quota.state) : undefined;
    if (refusal) throw refusal;
    const send = async (options: RequestOptions): Promise<HeldManifest> => {
      const latest = await catalog.tag(pull.repository, tag);
      // Another request has resolved it while this one looked at the catalog.
      if (latest && latest.checkedAt !== known?.checkedAt) return latest.descriptor;
      const head = (source: UpstreamRepository) => this.#head(pull, source, tag, options);
      // An alternate may lag behind, and what is held is not to be replaced by what the tag meant before.
      const { value, alternate }: FromUpstream<HeldManifest> = haveStale
        ? { value: await head({ registry, repository: pull.repository }) }
        : await withAlternates(pull, head);
      await catalog.resolve(pull.repository, tag, value, clock.now(), alternate);
      return value;
    };
    const about = aboutManifest(pull, tag);
    return requests.share(
      { about, want: "headers", revalidates: known !== undefined, haveStale, send },
      pull,
    );
  }

  /** The headers of a manifest that is not held. */
  async #headers(pull: PullContext, digest: Digest): Promise<ManifestResult> {
    const send = async (options: RequestOptions): Promise<HeldManifest> =>
      (await withAlternates(pull, (source) => this.#head(pull, source, digest, options))).value;
    const about = aboutManifest(pull, digest);
    const manifest = await this.#options.requests.share({ about, want: "headers", send }, pull);
    return { outcome: "miss", manifest };
  }

  /** What a HEAD says. Where it leaves digest or size out, only a GET can tell, and then the manifest is held first. */
  async #head(
    pull: PullContext,
    source: UpstreamRepository,
    reference: Reference,
    options: RequestOptions,
  ): Promise<HeldManifest> {
    const answer = await source.registry.headManifest(source.repository, reference, options);
    const { digest, mediaType, size } = answer;
    if (digest && size !== undefined) return { digest, mediaType, size };
    const { manifest, stored } = await this.#take(pull, source, reference, options);
    await stored;
    return manifest;
  }

  async #onDisk(
    repository: Repository,
    digest: Digest,
    trace: TraceStep | undefined,
  ): Promise<Content | undefined> {
    const { catalog, reconciler } = this.#options;
    const manifest = await catalog.manifest(repository, digest);
    if (!manifest) return undefined;
    const bytes = await this.#read(manifest, trace);
    if (bytes) return { manifest, bytes };
    await reconciler.recheck(digest, manifest.size);
    return undefined;
  }

  #read({ digest, size }: HeldManifest, trace: TraceStep | undefined): Promise<Buffer | undefined> {
    const { blobs } = this.#options;
    return inStep(trace, "open on disk", { "hubcap.digest": digest }, () => blobs.read(digest, size));
  }

  /** May a tag be served without asking? Also when nothing of it is held and nothing can be fetched: then a newer meaning helps no one. */
  #isBelieved({ upstream: { quota, alternates } }: PullContext, record: TagRecord): boolean {
    const { clock, freshness } = this.#options;
    if (isBelieved(record, clock.now(), quota.state, freshness)) return true;
    return !record.held && quota.state === "exhausted" && alternates.length === 0 && !quota.worthAsking();
  }
}

/** @throws UpstreamError when a tag has moved to a manifest that cannot be afforded, while the one that it had is held whole. */
function checkMove(pull: PullContext, { held }: TagRecord, { digest, mediaType }: HeldManifest): void {
  const { registry, quota, alternates } = pull.upstream;
  if (!held || held.digest === digest || alternates.length > 0) return;
  const refusal = refusalToRevalidate(registry.name, quota.state);
  if (refusal) throw refusal;
  const isEnough = quota.left >= 1 + restOf(pull, mediaType, []) || quota.isSetAside(pull.repository);
  if (!isEnough)
    throw new UpstreamError("limited", `fewer pulls of ${registry.name} are left than this image takes`);
}

function isAbsent(error: unknown): boolean {
  return error instanceof UpstreamError && error.kind === "absent";
}

/** How many more pulls an image takes after this manifest of it: one for a platform, one for a signature. */
function restOf(pull: PullContext, mediaType: string | undefined, partOf: readonly Digest[]): number {
  const platforms = isIndexType(mediaType) ? 1 : 0;
  return platforms + (pull.needsSignature && partOf.length === 0 ? 1 : 0);
}

function aboutManifest({ repository }: PullContext, reference: Reference): string {
  return `manifest ${formatImage(repository, reference)}`;
}

/** A manifest that has come in. */
export interface IncomingManifest {
  readonly manifest: HeldManifest;
  readonly bytes: Buffer;
  readonly parsed: Manifest;
  /** Settles when the manifest is held, or cannot be. Never rejects. */
  readonly stored: Promise<void>;
}

export interface ManifestIntakeOptions {
  readonly catalog: Pick<Catalog, "holdManifest">;
  readonly blobs: Pick<Blobs, "put">;
  readonly reconciler: Pick<Reconciler, "keep">;
  readonly health: Pick<Health, "note">;
  /** Called when the disk did not take a manifest, which was served all the same. */
  readonly bypassed: (upstream: string, reason: Trouble) => void;
  /** Called when a manifest could not be stored for any other reason. */
  readonly failed: (error: unknown) => void;
}

/** How many bytes may wait for the disk before pulls of more wait for it too. */
const mostBytes = 16 * 1024 * 1024;

export class ManifestIntake {
  readonly #options: ManifestIntakeOptions;
  readonly #storing = new Map<string, IncomingManifest>();
  #bytes = 0;

  constructor(options: ManifestIntakeOptions) {
    this.#options = options;
  }

  /** A manifest that is being stored for `repository`. */
  get(repository: Repository, digest: Digest): IncomingManifest | undefined {
    return this.#storing.get(formatImage(repository, digest));
  }

  /** The indexes that are being stored for `repository` and name `digest`. */
  indexesOf(repository: Repository, digest: Digest): readonly Digest[] {
    const prefix = `${formatRepository(repository)}@`;
    return [...this.#storing]
      .filter(
        ([name, { parsed }]) =>
          name.startsWith(prefix) && parsed.children.some((child) => child.digest === digest),
      )
      .map(([, { manifest }]) => manifest.digest);
  }

  /** Begins to store what `upstream` sent for `repository`, which has it from now on. */
  async take(upstream: string, repository: Repository, fetched: FetchedManifest): Promise<IncomingManifest> {
    const { bytes, mediaType, digest, parsed } = fetched;
    const manifest = { digest, mediaType, size: bytes.length };
    const name = formatImage(repository, digest);
    this.#bytes += bytes.length;
    const stored = this.#store(upstream, repository, manifest, bytes, parsed).finally(() => {
      this.#bytes -= bytes.length;
      // Another tag of the same digest may have brought it again meanwhile.
      if (this.#storing.get(name) === incoming) this.#storing.delete(name);
    });
    const incoming: IncomingManifest = { manifest, bytes, parsed, stored };
    this.#storing.set(name, incoming);
    if (this.#bytes > mostBytes) await stored;
    return incoming;
  }

  /** Settles when what is being stored for `repository` is held; undefined when nothing is. */
  idle(repository: Repository): Promise<unknown> | undefined {
    if (this.#storing.size === 0) return undefined;
    const prefix = `${formatRepository(repository)}@`;
    return Promise.all(
      [...this.#storing].flatMap(([name, { stored }]) => (name.startsWith(prefix) ? stored : [])),
    );
  }

  /** Settles when nothing is being stored any more. */
  async close(): Promise<void> {
    while (this.#storing.size > 0) await Promise.all([...this.#storing.values()].map(({ stored }) => stored));
  }

  async #store(
    upstream: string,
    repository: Repository,
    manifest: HeldManifest,
    bytes: Buffer,
    parsed: Manifest,
  ): Promise<void> {
    const { blobs, catalog, reconciler, health, bypassed, failed } = this.#options;
    try {
      await reconciler.keep(manifest.digest, async () => {
        await blobs.put(manifest.digest, bytes);
        await catalog.holdManifest(repository, manifest, namesIn(parsed), parsed.subject?.digest);
      });
    } catch (error) {
      const trouble = health.note(error);
      if (trouble) bypassed(upstream, trouble);
      else failed(error);
    }
  }
}
