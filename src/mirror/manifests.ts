/** Pulling manifests: a tag is resolved to a digest, a digest is held for ever. */
import type { Digest } from "../oci/digest.ts";
import { readManifest } from "../oci/manifest.ts";
import { formatRepository, isDigest, type Reference, type Repository, type Tag } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog, HeldManifest, TagRecord } from "../store/catalog.ts";
import { UpstreamError } from "../upstream/error.ts";
import type { Asked, Upstream } from "../upstream/registry.ts";
import type { Answer, Ask, Outcome } from "./ask.ts";
import { staleness } from "./failure.ts";
import { ageSeconds, isFresh, mayServeStale, type FreshnessPolicy } from "./freshness.ts";
import type { Inquiries } from "./inquiry.ts";

/** A manifest for a client. */
export interface ManifestAnswer extends Answer {
  readonly manifest: HeldManifest;
  /** The bytes as the upstream sent them; absent when only headers were asked for and the manifest is not held. */
  readonly bytes?: Buffer;
  /** For a tag: seconds since the upstream last confirmed what it means. */
  readonly age?: number;
}

type Content = Pick<ManifestAnswer, "outcome" | "manifest" | "bytes">;

export interface ManifestsOptions {
  readonly catalog: Catalog;
  readonly blobs: Blobs;
  readonly inquiries: Inquiries;
  readonly freshness: FreshnessPolicy;
  readonly now: () => number;
  /** Told the size of every manifest that was fetched. */
  readonly fetched: (upstream: string, bytes: number) => void;
}

export class Manifests {
  readonly #options: ManifestsOptions;

  constructor(options: ManifestsOptions) {
    this.#options = options;
  }

  /** The manifest that `reference` means. @throws UpstreamError */
  get(upstream: Upstream, repository: Repository, reference: Reference, ask: Ask): Promise<ManifestAnswer> {
    return isDigest(reference)
      ? this.#byDigest(upstream, repository, reference, ask)
      : this.#byTag(upstream, repository, reference, ask);
  }

  async #byTag(upstream: Upstream, repository: Repository, tag: Tag, ask: Ask): Promise<ManifestAnswer> {
    const { catalog, now, freshness } = this.#options;
    const record = await catalog.tag(repository, tag);
    try {
      const fresh = record && isFresh(record.checkedAt, now(), freshness);
      const age = fresh ? ageSeconds(record.checkedAt, now()) : 0;
      const manifest = fresh
        ? record.descriptor
        : await this.#resolve(upstream, repository, tag, ask, record);
      return { ...(await this.#content(upstream, repository, manifest, ask)), age };
    } catch (error) {
      const stale = record && (await this.#stale(repository, record, error));
      if (stale) return stale;
      throw error;
    }
  }

  async #byDigest(upstream: Upstream, repository: Repository, digest: Digest, ask: Ask): Promise<Content> {
    const held = await this.#held(repository, digest);
    if (held) return held;
    const about = `manifest ${formatRepository(repository)}@${digest}`;
    if (ask.head) {
      const send = (asked: Asked): Promise<HeldManifest> =>
        this.#headers(upstream, repository, digest, asked);
      const question = { upstream, about, want: "headers", reason: "pull", send } as const;
      return { outcome: "miss", manifest: await this.#options.inquiries.ask(question, ask) };
    }
    return this.#fetch(upstream, repository, digest, about, ask);
  }

  /** The content of a manifest whose descriptor is known already. */
  async #content(
    upstream: Upstream,
    repository: Repository,
    manifest: HeldManifest,
    ask: Ask,
  ): Promise<Content> {
    const held = await this.#held(repository, manifest.digest);
    if (held) return held;
    if (ask.head) return { outcome: "miss", manifest };
    const about = `manifest ${formatRepository(repository)}@${manifest.digest}`;
    return this.#fetch(upstream, repository, manifest.digest, about, ask);
  }

  async #held(repository: Repository, digest: Digest): Promise<Content | undefined> {
    const { catalog, blobs } = this.#options;
    const manifest = await catalog.manifest(repository, digest);
    if (!manifest) return undefined;
    const bytes = await blobs.read(digest, manifest.size);
    if (bytes) return { outcome: "hit", manifest, bytes };
    await catalog.forget(digest);
    return undefined;
  }

  async #fetch(
    upstream: Upstream,
    repository: Repository,
    digest: Digest,
    about: string,
    ask: Ask,
  ): Promise<Content> {
    const send = async (asked: Asked): Promise<Required<Pick<Content, "manifest" | "bytes">>> => {
      const elsewhere = await this.#options.catalog.manifestAnywhere(digest);
      const bytes = elsewhere && (await this.#options.blobs.read(digest, elsewhere.size));
      if (!bytes) return this.#take(upstream, repository, digest, asked);
      // The bytes are here, but whether this repository may have them only its upstream can say. A HEAD is free.
      await upstream.headManifest(repository, digest, asked);
      await this.#options.catalog.link(repository, digest);
      return { manifest: elsewhere, bytes };
    };
    const question = { upstream, about, want: "content", reason: "pull", send } as const;
    const outcome: Outcome = this.#options.inquiries.isAsked(question) ? "join" : "miss";
    return { outcome, ...(await this.#options.inquiries.ask(question, ask)) };
  }

  /** Gets a manifest from upstream, which may cost a pull, and holds it. */
  async #take(upstream: Upstream, repository: Repository, reference: Reference, asked: Asked) {
    const { bytes, mediaType, digest } = await upstream.getManifest(repository, reference, asked);
    this.#options.fetched(repository.upstream, bytes.length);
    const manifest = { digest, mediaType, size: bytes.length };
    const { children, config, layers, subject } = readManifest(bytes, mediaType);
    const names = [...children, ...layers, ...(config ? [config] : []), ...(subject ? [subject] : [])];
    await this.#options.blobs.put(digest, bytes);
    await this.#options.catalog.holdManifest(
      repository,
      manifest,
      names.map((name) => name.digest),
    );
    return { manifest, bytes };
  }

  /** Asks what a tag means now: one HEAD, which no upstream counts, for all who wait. */
  #resolve(
    upstream: Upstream,
    repository: Repository,
    tag: Tag,
    ask: Ask,
    known: TagRecord | undefined,
  ): Promise<HeldManifest> {
    const { inquiries, catalog, now } = this.#options;
    return inquiries.ask(
      {
        upstream,
        about: `manifest ${formatRepository(repository)}:${tag}`,
        want: "headers",
        reason: known ? "revalidate" : "pull",
        haveStale: known?.held !== undefined,
        send: async (asked) => {
          try {
            const manifest = await this.#headers(upstream, repository, tag, asked);
            await catalog.resolve(repository, tag, manifest, now());
            return manifest;
          } catch (error) {
            if (error instanceof UpstreamError && error.kind === "absent") {
              await catalog.forgetTag(repository, tag);
            }
            throw error;
          }
        },
      },
      ask,
    );
  }

  /** What the upstream's HEAD says. Where it leaves digest or size out, only a GET can tell. */
  async #headers(
    upstream: Upstream,
    repository: Repository,
    reference: Reference,
    asked: Asked,
  ): Promise<HeldManifest> {
    const { digest, mediaType, size } = await upstream.headManifest(repository, reference, asked);
    if (digest && size !== undefined) return { digest, mediaType, size };
    return (await this.#take(upstream, repository, reference, asked)).manifest;
  }

  async #stale(
    repository: Repository,
    record: TagRecord,
    error: unknown,
  ): Promise<ManifestAnswer | undefined> {
    const now = this.#options.now();
    const stale = staleness(error, record.checkedAt, now);
    if (!stale || !record.held || !mayServeStale(record.checkedAt, now, this.#options.freshness))
      return undefined;
    const held = await this.#held(repository, record.held.digest);
    return held && { ...held, outcome: "stale", stale, age: stale.age };
  }
}
