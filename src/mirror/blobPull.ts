/** Pulling blobs: from disk, from a running fill, or by beginning one. */
import type { Clock } from "../async/clock.ts";
import { inStep } from "../async/step.ts";
import type { Digest } from "../oci/digest.ts";
import { formatRepository, type Repository } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Health } from "../store/health.ts";
import { FillError, IntegrityError } from "../store/error.ts";
import { Passthrough, type PassthroughReason } from "../store/fill/passthrough.ts";
import type { Content } from "../store/fill/content.ts";
import { heldBack, type Fill, type FillSource } from "../store/fill/fill.ts";
import type { Fills } from "../store/fill/fills.ts";
import type { Intake } from "../store/fill/intake.ts";
import type { Reconciler } from "../store/repair/reconcile.ts";
import type { Catalog } from "../store/catalog.ts";
import { UpstreamError } from "../upstream/error.ts";
import type { RequestOptions } from "../upstream/registry.ts";
import type { Outcome, PullContext, PullResult } from "./context.ts";
import { withAlternates, type UpstreamRequests } from "./upstreamRequests.ts";

/** A blob for a client. The content must be streamed or closed. */
export interface BlobResult extends PullResult {
  readonly size: number | undefined;
  /** Absent when only headers were asked for. */
  readonly content?: Content;
}

/** The upstream sent wrong bytes, or the fill failed. */
export type FillFailure = "corrupt" | FillError["kind"];

/** For how long an upstream's "yes" to a HEAD is believed, in ms, and how many of them are remembered. */
const sizesKept = { ms: 5 * 60_000, most: 10_000 } as const;

/** What a HEAD of a blob costs in the miss limit: no runtime sends many of them. */
const headCost = 0.2;

export interface BlobPullsOptions {
  readonly catalog: Pick<Catalog, "blob" | "blobAnywhere" | "holdBlob" | "link">;
  readonly blobs: Pick<Blobs, "open">;
  readonly fills: Fills;
  readonly reconciler: Pick<Reconciler, "adopt" | "recheck">;
  readonly intake: Intake;
  /** Settles when the manifests that are being stored for a repository are held; undefined when none are. */
  readonly manifestsStored: (repository: Repository) => Promise<unknown> | undefined;
  readonly health: Pick<Health, "note">;
  readonly requests: UpstreamRequests;
  /** Called with the length of every chunk that was fetched. */
  readonly fetched: (upstream: string, bytes: number) => void;
  /** Called with why a fill failed. */
  readonly failed: (upstream: string, reason: FillFailure) => void;
  /** Called when a blob could not be stored, and why. */
  readonly bypassed: (upstream: string, reason: PassthroughReason) => void;
  readonly clock: Clock;
}

/** A blob that an upstream was asked for and has not answered yet. */
interface Opening {
  readonly repository: string;
  readonly request: { readonly about: string; readonly want: "content" };
  readonly over: Promise<unknown>;
}

export class BlobPulls {
  readonly #options: BlobPullsOptions;
  /** At most one of a digest, so that no blob is fetched twice at once. */
  readonly #openings = new Map<Digest, Opening>();
  /** The repositories whose upstreams have answered for a fill's digest. */
  readonly #admitted = new WeakMap<Fill, Set<string>>();

  /** The sizes that upstreams gave lately, oldest first. */
  readonly #sizes = new Map<string, { readonly size: number | undefined; readonly until: number }>();

  constructor(options: BlobPullsOptions) {
    this.#options = options;
  }

  /** The blob, if this repository's upstream knows it. @throws UpstreamError, IntegrityError, FillError */
  async get(pull: PullContext, digest: Digest): Promise<BlobResult> {
    return (await this.#hit(pull, digest)) ?? this.#notHeld(pull, digest);
  }

  /** HIT: this repository holds it. */
  async #hit(pull: PullContext, digest: Digest): Promise<BlobResult | undefined> {
    const { catalog, reconciler } = this.#options;
    const size = await catalog.blob(pull.repository, digest);
    if (size === undefined) return undefined;
    const content = await this.#onDisk(pull, digest, size);
    if (content) return deliver("hit", content, pull);
    await reconciler.recheck(digest, size);
    return undefined;
  }

  async #notHeld(pull: PullContext, digest: Digest): Promise<BlobResult> {
    const { requests, health } = this.#options;
    const found = this.#joinOrMiss(pull, digest).catch((error: unknown) => {
      // The disk failed under a fill of which this client has not seen anything yet; now it is known not to be used.
      if (error instanceof FillError && health.note(error)) return this.#joinOrMiss(pull, digest);
      throw error;
    });
    try {
      // Each request is answered in time, but those of other repositories may have to be waited for before.
      return await requests.inTime(found, pull, `${pull.upstream.registry.name} did not answer in time`);
    } catch (error) {
      // An answer that comes too late is closed.
      found.then((late) => late.content?.close()).catch(() => {});
      throw error;
    }
  }

  async #joinOrMiss(pull: PullContext, digest: Digest): Promise<BlobResult> {
    // Each round ends with an answer, or because something has changed while this request waited.
    for (;;) {
      const found =
        (await this.#join(pull, digest)) ??
        (pull.head ? await this.#headers(pull, digest) : await this.#ofAnother(pull, digest)) ??
        (await this.#miss(pull, digest)) ??
        (await this.#hit(pull, digest));
      if (found) return found;
    }
  }

  /** JOIN: it is on its way in. */
  async #join(pull: PullContext, digest: Digest): Promise<BlobResult | undefined> {
    const fill = this.#options.fills.get(digest);
    if (fill?.isAbandoned) await fill.settled.catch(() => {});
    const content = fill?.open();
    if (!fill || !content) return undefined;
    const admitted = this.#admitted.getOrInsertComputed(fill, () => new Set());
    const name = formatRepository(pull.repository);
    if (!admitted.has(name)) {
      await this.#checkAdmitted(pull, digest, content, fill.size);
      admitted.add(name);
      // Without the row, this repository's next pull asks its upstream once more.
      fill.settled.then(() => this.#options.catalog.link(pull.repository, digest)).catch(() => {});
    }
    return this.#whenProven(fill, content, "join", pull);
  }

  /** HIT: another repository holds it, and this one's upstream knows it too. */
  async #ofAnother(pull: PullContext, digest: Digest): Promise<BlobResult | undefined> {
    const { catalog, reconciler } = this.#options;
    const size = (await catalog.blobAnywhere(digest)) ?? (await reconciler.adopt(digest));
    if (size === undefined) return undefined;
    const content = await this.#onDisk(pull, digest, size);
    if (content) {
      await this.#checkAdmitted(pull, digest, content, content.size);
      await catalog.link(pull.repository, digest);
      return deliver("hit", content, pull);
    }
    // Bytes that are gone are gone for every repository that had them: a new copy is for the one that asks.
    await reconciler.recheck(digest, size);
    return undefined;
  }

  /** A HEAD of what is not here. */
  async #headers(pull: PullContext, digest: Digest): Promise<BlobResult> {
    return { outcome: "miss", size: await this.#sizeUpstream(pull, digest) };
  }

  /** MISS, or a JOIN of what another client has just requested; undefined when it has come in, or may have, meanwhile. */
  async #miss(pull: PullContext, digest: Digest): Promise<BlobResult | undefined> {
    const repository = formatRepository(pull.repository);
    const opening = this.#openings.get(digest);
    if (opening && opening.repository !== repository) {
      // What another repository is answered is not for this one, but it may bring the bytes.
      this.#options.requests.hurry(opening.request, pull);
      await opening.over;
      return undefined;
    }
    const request = { about: `blob ${repository}@${digest}`, want: "content" } as const;
    const opened = this.#options.requests.share(
      { ...request, send: (options) => this.#open(pull, digest, options) },
      pull,
    );
    if (!opening) {
      const close = (): boolean => this.#openings.delete(digest);
      this.#openings.set(digest, { repository, request, over: opened.then(close, close) });
    }
    const begun = await opened;
    if (begun instanceof Passthrough) {
      this.#options.bypassed(pull.upstream.registry.name, begun.reason);
      const { fill, content } = await begun.open();
      return this.#whenProven(fill, content, "miss", pull);
    }
    const content = begun?.open();
    return begun && content && this.#whenProven(begun, content, opening ? "join" : "miss", pull);
  }

  /** Begins a fill for all who wait for a blob; undefined when one has begun, or the blob has come in, meanwhile. */
  async #open(
    pull: PullContext,
    digest: Digest,
    options: RequestOptions,
  ): Promise<Fill | Passthrough | undefined> {
    const { catalog, fills, intake, fetched, failed, health, clock } = this.#options;
    // Nothing else begins a fill of this digest now: one that has ended left its row.
    if (fills.get(digest) || (await catalog.blob(pull.repository, digest)) !== undefined) return undefined;
    const { name } = pull.upstream.registry;
    const get = async (offset: number, options: RequestOptions): Promise<FillSource> =>
      (
        await withAlternates(pull, ({ registry, repository }) =>
          registry.getBlob(repository, digest, offset, options),
        )
      ).value;
    const named = this.#isNamed(pull, digest);
    const kept = intake.kept(digest);
    // From the last byte that is here, not the one after it: of a blob that is whole there would be nothing to send.
    const first = await (kept > 0
      ? resume(kept - 1, undefined, (from) => get(from, options))
      : get(0, options));
    const step = options.purpose.trace?.begin("fill", {
      "hubcap.digest": digest,
      ...(first.size !== undefined && { "hubcap.size": first.size }),
    });
    const purpose = step ? { ...options.purpose, trace: step } : options.purpose;
    const source = {
      resume: (offset: number) => resume(offset, first.size, (from) => get(from, { purpose })),
      progress: (bytes: number) => fetched(name, bytes),
    };
    const claim = { isNamed: await named, address: pull.address };
    const space = await intake.open(digest, first.size, claim).catch((error: unknown) => {
      first.cancel();
      step?.end(error);
      throw error;
    });
    if (typeof space === "string") {
      step?.note({ "hubcap.bypass": space });
      step?.end();
      const whole = first.offset === 0 ? first : undefined;
      if (!whole) first.cancel();
      return new Passthrough({
        ...source,
        digest,
        reason: space,
        first: whole,
        again: () => get(0, { purpose }),
        clock,
      });
    }
    const hold = (size: number): Promise<void> => catalog.holdBlob(pull.repository, digest, size);
    const fill = fills.begin(digest, space.ingest, first, {
      ...source,
      hold,
      makeSpace: (bytes) => space.make(bytes),
      ...(!claim.isNamed && { isWanted: () => this.#isNamed(pull, digest) }),
      repository: pull.repository,
    });
    this.#admitted.set(fill, new Set([formatRepository(pull.repository)]));
    fill.settled
      .then(
        () => step?.end(),
        (error: unknown) => {
          step?.note({ "hubcap.written": fill.written });
          step?.end(error);
          health.note(error);
          failed(name, failureOf(error));
        },
      )
      .finally(() => space.release());
    return fill;
  }

  /** Does a manifest name the blob that is held, or is about to be? */
  async #isNamed({ repository }: PullContext, digest: Digest): Promise<boolean> {
    const { intake, manifestsStored } = this.#options;
    if (await intake.isNamed(digest)) return true;
    await manifestsStored(repository);
    return intake.isNamed(digest);
  }

  /** The size that the upstream gives by HEAD, or gave lately, which is counted nowhere. @throws UpstreamError when it does not know the blob. */
  async #sizeUpstream(pull: PullContext, digest: Digest): Promise<number | undefined> {
    const about = `blob ${formatRepository(pull.repository)}@${digest}`;
    const send = (options: RequestOptions) =>
      withAlternates(pull, ({ registry, repository }) => registry.headBlob(repository, digest, options));
    const { requests, clock } = this.#options;
    const known = this.#sizes.get(about);
    if (known && known.until > clock.now()) return known.size;
    const cost = pull.head ? { cost: headCost } : {};
    const { size } = (await requests.share({ about, want: "headers", send, ...cost }, pull)).value;
    this.#sizes.delete(about);
    this.#sizes.set(about, { size, until: clock.now() + sizesKept.ms });
    const [oldest] = this.#sizes.keys();
    if (this.#sizes.size > sizesKept.most && oldest !== undefined) this.#sizes.delete(oldest);
    return size;
  }

  /** Does this repository's upstream know a blob of this size? Closes `content` if not. @throws UpstreamError */
  async #checkAdmitted(
    pull: PullContext,
    digest: Digest,
    content: Content,
    size: number | undefined,
  ): Promise<void> {
    try {
      const found = await this.#sizeUpstream(pull, digest);
      if (found === undefined || size === undefined || found === size) return;
      const { name } = pull.upstream.registry;
      throw new UpstreamError("corrupt", `${name} says that ${digest} has another size`);
    } catch (error) {
      await content.close();
      throw error;
    }
  }

  /** A blob that lies wholly in the part that is held back is waited for, so that a wrong one is an error and not a cut. */
  async #whenProven(fill: Fill, content: Content, outcome: Outcome, pull: PullContext): Promise<BlobResult> {
    if (!pull.head && fill.size !== undefined && fill.size <= heldBack) {
      try {
        await this.#options.requests.wait(fill.proven, pull, "the upstream did not send the blob in time");
      } catch (error) {
        await content.close();
        throw error;
      }
    }
    return deliver(outcome, content, pull);
  }

  #onDisk(pull: PullContext, digest: Digest, size: number): Promise<Content | undefined> {
    const { blobs } = this.#options;
    return inStep(pull.trace, "open on disk", { "hubcap.digest": digest }, () => blobs.open(digest, size));
  }
}

function failureOf(error: unknown): FillFailure {
  if (error instanceof IntegrityError) return "corrupt";
  return error instanceof FillError ? error.kind : "broken";
}

async function deliver(outcome: Outcome, content: Content, pull: PullContext): Promise<BlobResult> {
  const { size } = content;
  if (!pull.head) return { outcome, size, content };
  await content.close();
  return { outcome, size };
}

/**
 * The rest of a blob, always from the registry's own address: what it redirected to has expired by now. No `If-Range`:
 * another server's ETag may differ for the same bytes, and the digest tells whether they fit.
 */
async function resume(
  offset: number,
  size: number | undefined,
  get: (offset: number) => Promise<FillSource>,
): Promise<FillSource> {
  try {
    const rest = await get(offset);
    if (rest.offset <= offset && (size === undefined || rest.size === size)) return rest;
    rest.cancel();
  } catch (error) {
    if (!(error instanceof UpstreamError) || error.kind !== "corrupt") throw error;
  }
  // An upstream that answers a range with nonsense is asked for the whole, which is then read past.
  return get(0);
}
