/** Fetches one image ahead: its index, the platforms that are wanted, and all that these consist of. */
import type { Descriptor, Platform } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import type { Clock } from "../async/clock.ts";
import { readManifest, type Manifest } from "../oci/manifest.ts";
import { childrenFor, formatPlatform } from "../oci/platform.ts";
import { isDigest, type Reference, type Repository } from "../oci/reference.ts";
import type { Catalog } from "../store/catalog.ts";
import type { Fill } from "../store/fill/fill.ts";
import type { Fills } from "../store/fill/fills.ts";
import type { DiskSpace } from "../store/evict/space.ts";
import { unlessAborted, Semaphore } from "../async/concurrency.ts";
import { operator, patienceMs, type PullRequest } from "./context.ts";
import { PromotedError } from "./upstreamRequests.ts";
import type { ManifestResult } from "./manifestPull.ts";
import type { Mirror } from "./mirror.ts";
import { NoSpaceError, UncheckedError, WarmError } from "./warmError.ts";

/** What is to be fetched ahead. */
export interface WantedImage {
  readonly repository: Repository;
  readonly reference: Reference;
  /** Of an index; a single image is fetched whatever it is for. Empty means all. */
  readonly platforms: readonly Platform[];
}

/** How far an image is. Bytes are those that were not held before. */
export interface WarmProgress {
  total: number;
  done: number;
  /** Blobs on their way in. */
  readonly running: Set<Pick<Fill, "written">>;
}

/** How one image is fetched. */
export interface WarmRun {
  /** Who asked for it, for the ledger. */
  readonly client: string;
  /** Stops between two steps. */
  readonly signal: AbortSignal;
  /** Thrown in place of spending a pull: what the upstream's quota has said already. */
  readonly refusal: Error | undefined;
}

export interface ImageWarmerOptions {
  readonly clock: Pick<Clock, "elapsed">;
  readonly mirror: Pick<Mirror, "manifest" | "blob">;
  readonly catalog: Pick<Catalog, "blob" | "blobAnywhere" | "manifest">;
  readonly fills: Pick<Fills, "get">;
  readonly space: Pick<DiskSpace, "headroom">;
  /** Called with the number of bytes that came in. */
  readonly fetched: (upstream: string, bytes: number) => void;
}

/** Blobs of one image that are fetched at once: runtimes take three. */
const blobsAtOnce = 3;

/** After a download has ended its blob is held, unless the disk did not take it or it was evicted at once. */
const mostTries = 3;

/** Indexes within indexes: no real one nests deeper. */
const deepest = 4;

export class ImageWarmer {
  readonly #options: ImageWarmerOptions;
  /** Bytes that images under way still need and that are promised to no download yet. */
  #planned = 0;

  constructor(options: ImageWarmerOptions) {
    this.#options = options;
  }

  /**
   * Settles when all that is wanted is held.
   * @throws RegistryError, FillError, NoSpaceError, UncheckedError, WarmError, or the reason of the signal.
   */
  async warm(wanted: WantedImage, track: WarmProgress, run: WarmRun): Promise<void> {
    const images: Manifest[] = [];
    await this.#manifest(wanted, wanted.reference, run, images, 0);
    const blobs = new Map<Digest, Descriptor>();
    for (const { config, layers } of images) {
      for (const blob of [...(config ? [config] : []), ...layers]) blobs.set(blob.digest, blob);
    }
    await this.#blobs(wanted.repository, [...blobs.values()], track, run);
  }

  /** Holds a manifest and what it names, and puts every image among them into `images`. */
  async #manifest(
    wanted: WantedImage,
    reference: Reference,
    run: WarmRun,
    images: Manifest[],
    depth: number,
  ): Promise<void> {
    const found = await this.#content(wanted.repository, reference, run, depth === 0);
    const read = found.parsed ?? readManifest(found.bytes, found.manifest.mediaType);
    if (read.kind === "image") return void images.push(read);
    if (depth === deepest) throw new WarmError(`it has more than ${deepest} indexes within one another`);
    const { children, missing } = choose(wanted.platforms, read.children);
    for (const child of children) {
      await this.#manifest(wanted, child.digest, run, images, depth + 1);
    }
    // Last, so that one wrong platform does not keep the others away.
    if (missing.length > 0) throw new WarmError(lack(missing, read.children));
  }

  /** A manifest's bytes. What an upstream's answer says of its quota is heard before a pull is spent. */
  async #content(repository: Repository, reference: Reference, run: WarmRun, isRoot: boolean) {
    const { mirror, catalog, space } = this.#options;
    run.signal.throwIfAborted();
    let digest = isDigest(reference) ? reference : undefined;
    const isAsked = isRoot || run.refusal !== undefined;
    if (isAsked || (digest && (await catalog.manifest(repository, digest)))) {
      const known = await unlessOvertaken(() =>
        mirror.manifest(repository, reference, this.#request(run, true)),
      );
      if (known.stale) throw new UncheckedError(known.stale);
      if (known.bytes) return { ...known, bytes: known.bytes };
      digest = known.manifest.digest;
    }
    if (run.refusal) throw run.refusal;
    if ((await space.headroom()) <= this.#planned) throw new NoSpaceError();
    const found: ManifestResult = await unlessOvertaken(() =>
      mirror.manifest(repository, digest ?? reference, this.#request(run, false)),
    );
    const { bytes, manifest, stored } = found;
    await stored;
    if (!bytes || !(await catalog.manifest(repository, manifest.digest))) {
      throw new WarmError("its manifest could not be stored: the disk is full or failing");
    }
    return { ...found, bytes };
  }

  async #blobs(
    repository: Repository,
    blobs: readonly Descriptor[],
    track: WarmProgress,
    run: WarmRun,
  ): Promise<void> {
    const { catalog, space } = this.#options;
    const needed = new Map<Digest, number>();
    for (const { digest, size } of blobs) {
      if ((await catalog.blobAnywhere(digest)) === undefined) needed.set(digest, size);
    }
    const sum = needed.values().reduce((bytes, size) => bytes + size, 0);
    if (sum > 0 && sum + this.#planned > (await space.headroom())) throw new NoSpaceError();
    track.total += sum;
    this.#planned += sum;
    const turns = new Semaphore(blobsAtOnce);
    // The first failure of a blob is the image's; the others are waited for, so that no rejection is unhandled.
    const results = await Promise.allSettled(
      blobs.map(({ digest }) =>
        turns.run(async () => {
          const size = needed.get(digest) ?? 0;
          let planned = size;
          const begun = (): void => {
            this.#planned -= planned;
            planned = 0;
          };
          try {
            await this.#blob(repository, digest, track, run, begun);
          } finally {
            begun();
          }
          if (size === 0) return;
          track.done += size;
          this.#options.fetched(repository.upstream, size);
        }),
      ),
    );
    const failed = results.find((result) => result.status === "rejected");
    if (failed) throw failed.reason;
  }

  /** Holds one blob. `begun` is called when space is promised for it. */
  async #blob(
    repository: Repository,
    digest: Digest,
    track: WarmProgress,
    run: WarmRun,
    begun: () => void,
  ): Promise<void> {
    const { mirror, fills } = this.#options;
    for (let tries = 0; tries < mostTries; tries += 1) {
      run.signal.throwIfAborted();
      const { content, outcome } = await unlessOvertaken(() =>
        mirror.blob(repository, digest, this.#request(run, false)),
      );
      begun();
      // The download goes on without a reader.
      await content?.close();
      if (outcome === "hit") return;
      if (content?.fromStart)
        throw new WarmError("there is no place for its blobs: the disk or the cache is full");
      const fill = fills.get(digest);
      if (fill) await follow(fill, track, run.signal);
    }
    throw new WarmError(`its blob ${digest} came in but is not held`);
  }

  #request({ client }: WarmRun, head: boolean): PullRequest {
    const deadline = this.#options.clock.elapsed() + patienceMs;
    const notes = { upstreamMs: 0 };
    // What is fetched ahead, the operator has ordered.
    return {
      identity: operator,
      client,
      payer: "hubcap",
      userAgent: "hubcap",
      head,
      warm: true,
      deadline,
      notes,
    };
  }
}

/** What `ask` gives, asked again when a client went first: then that client's answer is there, or can be waited for. */
async function unlessOvertaken<T>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof PromotedError)) throw error;
      await new Promise(setImmediate);
    }
  }
}

/** Waits until a download has ended well. @throws what it failed with. */
async function follow(fill: Fill, track: WarmProgress, signal: AbortSignal): Promise<void> {
  track.running.add(fill);
  try {
    await unlessAborted(fill.settled, signal);
  } finally {
    track.running.delete(fill);
  }
}

/** The children that are wanted, each once, and the platforms that are not among them. */
function choose(platforms: readonly Platform[], children: readonly Descriptor[]) {
  if (platforms.length === 0) return { children, missing: [] };
  const chosen = new Map<Digest, Descriptor>();
  const missing: Platform[] = [];
  for (const platform of platforms) {
    const found = childrenFor(platform, children);
    if (found.length === 0) missing.push(platform);
    for (const child of found) chosen.set(child.digest, child);
  }
  return { children: [...chosen.values()], missing };
}

function lack(missing: readonly Platform[], children: readonly Descriptor[]): string {
  const there = new Set(children.flatMap(({ platform }) => (platform ? [formatPlatform(platform)] : [])));
  there.delete("unknown/unknown");
  const others = there.size === 0 ? "" : `; there is ${[...there].join(", ")}`;
  return `it is not there for ${missing.map(formatPlatform).join(", ")}${others}`;
}
