/** Manifests that have come in: proven, so clients have them at once, and stored behind the answer. */
import type { Digest } from "../oci/digest.ts";
import { namesIn, type Manifest } from "../oci/manifest.ts";
import { formatImage, formatRepository, type Repository } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog, HeldManifest } from "../store/catalog.ts";
import type { Reconciler } from "../store/repair/reconcile.ts";
import type { Trouble } from "../store/error.ts";
import type { Health } from "../store/health.ts";
import type { FetchedManifest } from "../upstream/replies.ts";

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

/** How many bytes may wait for the disk before those that bring more wait for it too. */
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

  /** Begins to store what `upstream` sent for `repository`, which has it from now on. */
  async take(upstream: string, repository: Repository, fetched: FetchedManifest): Promise<IncomingManifest> {
    const { bytes, mediaType, digest, parsed } = fetched;
    const manifest = { digest, mediaType, size: bytes.length };
    const name = formatImage(repository, digest);
    this.#bytes += bytes.length;
    const stored = this.#store(upstream, repository, manifest, bytes, parsed).finally(() => {
      this.#bytes -= bytes.length;
      this.#storing.delete(name);
    });
    const incoming = { manifest, bytes, parsed, stored };
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
