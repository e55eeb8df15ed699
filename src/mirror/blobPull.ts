/** Pulling blobs: from disk, from a running fill, or by beginning one. */
import type { Digest } from "../oci/digest.ts";
import { formatRepository, type Repository } from "../oci/reference.ts";
import { inStep } from "../async/step.ts";
import type { Reason } from "../quota/quota.ts";
import type { Blobs } from "../store/blobs.ts";
import { Passthrough, type PassthroughReason } from "../store/fill/bypass.ts";
import type { Catalog } from "../store/catalog.ts";
import type { Content } from "../store/fill/content.ts";
import type { Reconciler } from "../store/repair/reconcile.ts";
import { FillError, IntegrityError } from "../store/error.ts";
import { heldBack, type Fill, type FillSource } from "../store/fill/fill.ts";
import type { Fills } from "../store/fill/fills.ts";
import type { Health } from "../store/health.ts";
import type { Intake } from "../store/fill/intake.ts";
import { UpstreamError } from "../upstream/error.ts";
import type { RequestOptions } from "../upstream/registry.ts";
import type { PullResult, PullContext, Outcome } from "./context.ts";
import { inTime, type UpstreamRequests } from "./upstreamRequests.ts";
import { askWithAlternates, type MirrorUpstream } from "./alternates.ts";

/** A blob for a client. The content must be streamed or closed. */
export interface BlobResult extends PullResult {
  readonly size: number | undefined;
  /** Absent when only headers were asked for. */
  readonly content?: Content;
}

/** The upstream sent wrong bytes, or did not send them all, or the disk did not take them. */
export type FillFailure = "corrupt" | "broken" | "disk";

export interface BlobPullsOptions {
  readonly catalog: Catalog;
  readonly blobs: Blobs;
  readonly fills: Fills;
  readonly reconciler: Pick<Reconciler, "adopt" | "recheck">;
  readonly intake: Intake;
  readonly health: Pick<Health, "note">;
  readonly requests: UpstreamRequests;
  /** Told the length of every chunk that was fetched. */
  readonly fetched: (upstream: string, bytes: number) => void;
  /** Told why a fill came to nothing. */
  readonly failed: (upstream: string, reason: FillFailure) => void;
  /** Told that a blob was not stored, and why. */
  readonly bypassed: (upstream: string, reason: PassthroughReason) => void;
}

export class BlobPulls {
  readonly #options: BlobPullsOptions;
  /** Blobs that an upstream was asked for and has not answered yet, and the repository it was asked for. */
  readonly #openings = new Map<Digest, { readonly place: string; readonly over: Promise<unknown> }>();
  /** The repositories whose upstreams have answered for a fill's digest. */
  readonly #proofs = new WeakMap<Fill, Set<string>>();

  constructor(options: BlobPullsOptions) {
    this.#options = options;
  }

  /** The blob, if this repository's upstream knows it. @throws UpstreamError, IntegrityError, FillError */
  async get(
    served: MirrorUpstream,
    repository: Repository,
    digest: Digest,
    ask: PullContext,
  ): Promise<BlobResult> {
    const answer = this.#answer(served, repository, digest, ask);
    try {
      // Each question is answered in time, but those of other repositories may have to be waited for before.
      return await inTime(answer, ask, `${served.upstream.name} did not answer in time`);
    } catch (error) {
      // What comes too late is let go of; how that ends is nobody's concern any more.
      answer.then((late) => late.content?.close()).catch(() => {});
      throw error;
    }
  }

  async #answer(
    served: MirrorUpstream,
    repository: Repository,
    digest: Digest,
    ask: PullContext,
  ): Promise<BlobResult> {
    try {
      return await this.#get(served, repository, digest, ask);
    } catch (error) {
      if (!(error instanceof FillError) || !this.#options.health.note(error)) throw error;
      // The disk failed under a fill of which this client has not seen anything yet; now it is known not to be used.
      return this.#get(served, repository, digest, ask);
    }
  }

  async #get(
    served: MirrorUpstream,
    repository: Repository,
    digest: Digest,
    ask: PullContext,
  ): Promise<BlobResult> {
    const { catalog, fills, reconciler: custody } = this.#options;
    const place = formatRepository(repository);
    // Each turn ends in an answer, or in something having changed while this request waited.
    for (;;) {
      const size = await catalog.blob(repository, digest);
      if (size !== undefined) {
        const content = await this.#fromDisk(digest, size, ask);
        if (content) return deliver("hit", content, ask);
        await custody.recheck(digest, size);
      }
      const running = fills.get(digest);
      const joined = running?.open();
      if (running && joined) return this.#join(running, joined, served, repository, ask);
      if (ask.head) return { outcome: "miss", size: await this.#exists(served, repository, digest, ask) };
      const elsewhere = (await catalog.blobAnywhere(digest)) ?? (await custody.adopt(digest));
      const content = elsewhere === undefined ? undefined : await this.#fromDisk(digest, elsewhere, ask);
      if (content) return this.#admit(content, served, repository, digest, ask);
      // Bytes that are gone are gone for every repository that had them: a new copy is for the one that asks.
      if (elsewhere !== undefined) await custody.recheck(digest, elsewhere);
      // While this request looked around on disk, another one's question may have become a fill, or more than that.
      if ((await catalog.blob(repository, digest)) !== undefined || fills.get(digest)) continue;
      const opening = this.#openings.get(digest);
      if (opening && opening.place !== place) {
        // What another repository is told is not for this one, but it may bring the bytes.
        await opening.over;
        continue;
      }
      const begun = await this.#begin(served, repository, digest, ask);
      if (begun instanceof Passthrough) return this.#pass(begun, served, ask);
      const growing = begun.open();
      if (growing) return this.#prove(begun, growing, opening ? "join" : "miss", ask);
    }
  }

  #fromDisk(digest: Digest, size: number, { trace }: PullContext): Promise<Content | undefined> {
    const { blobs } = this.#options;
    return inStep(trace, "open on disk", { "hubcap.digest": digest }, () => blobs.open(digest, size));
  }

  /** Bytes that are here are this repository's too if its upstream knows them. */
  async #admit(
    content: Content,
    served: MirrorUpstream,
    repository: Repository,
    digest: Digest,
    ask: PullContext,
  ) {
    try {
      await this.#agrees(served, repository, digest, content.size, ask);
    } catch (error) {
      await content.close();
      throw error;
    }
    await this.#options.catalog.link(repository, digest);
    return deliver("hit", content, ask);
  }

  async #pass(bypass: Passthrough, served: MirrorUpstream, ask: PullContext): Promise<BlobResult> {
    this.#options.bypassed(served.upstream.name, bypass.reason);
    const { fill, content } = await bypass.open();
    return this.#prove(fill, content, "miss", ask);
  }

  /** Asks this repository's upstream whether it knows a blob. A HEAD of a blob is counted nowhere. */
  async #exists(served: MirrorUpstream, repository: Repository, digest: Digest, ask: PullContext) {
    const about = `blob ${formatRepository(repository)}@${digest}`;
    const { upstream } = served;
    const send = (asked: RequestOptions) =>
      askWithAlternates(served, repository, (place) =>
        place.upstream.headBlob(place.repository, digest, asked),
      );
    const question = { upstream, about, want: "headers", reason: reasonOf(ask), send } as const;
    return (await this.#options.requests.share(question, ask)).value.size;
  }

  /** The same of a blob whose size is known: an upstream that says another is not talking about it. */
  async #agrees(
    served: MirrorUpstream,
    repository: Repository,
    digest: Digest,
    size: number | undefined,
    ask: PullContext,
  ): Promise<void> {
    const said = await this.#exists(served, repository, digest, ask);
    if (said === undefined || size === undefined || said === size) return;
    throw new UpstreamError("corrupt", `${served.upstream.name} says that ${digest} has another size`);
  }

  async #join(
    fill: Fill,
    content: Content,
    served: MirrorUpstream,
    repository: Repository,
    ask: PullContext,
  ): Promise<BlobResult> {
    const place = formatRepository(repository);
    const proofs = this.#proofs.getOrInsertComputed(fill, () => new Set());
    if (!proofs.has(place)) {
      try {
        await this.#agrees(served, repository, fill.digest, fill.size, ask);
      } catch (error) {
        await content.close();
        throw error;
      }
      proofs.add(place);
      // Without the row, this repository's next pull asks its upstream once more.
      fill.settled.then(() => this.#options.catalog.link(repository, fill.digest)).catch(() => {});
    }
    return this.#prove(fill, content, "join", ask);
  }

  /** A blob that lies wholly in the part that is held back is waited for, so that a wrong one is an error and not a cut. */
  async #prove(fill: Fill, content: Content, outcome: Outcome, ask: PullContext): Promise<BlobResult> {
    if (!ask.head && fill.size !== undefined && fill.size <= heldBack) {
      const started = performance.now();
      try {
        await inTime(fill.proven, ask, "the upstream did not send the blob in time");
      } catch (error) {
        await content.close();
        throw error;
      } finally {
        ask.upstreamMs += performance.now() - started;
      }
    }
    return deliver(outcome, content, ask);
  }

  async #begin(served: MirrorUpstream, repository: Repository, digest: Digest, ask: PullContext) {
    const place = formatRepository(repository);
    const question = {
      upstream: served.upstream,
      about: `blob ${place}@${digest}`,
      want: "content",
      reason: reasonOf(ask),
      send: (asked: RequestOptions) => this.#open(served, repository, digest, asked),
    } as const;
    const begun = this.#options.requests.share(question, ask);
    if (!this.#openings.has(digest)) {
      const close = (): boolean => this.#openings.delete(digest);
      this.#openings.set(digest, { place, over: begun.then(close, close) });
    }
    return begun;
  }

  async #open(
    served: MirrorUpstream,
    repository: Repository,
    digest: Digest,
    asked: RequestOptions,
  ): Promise<Fill | Passthrough> {
    const { catalog, fills, intake, fetched, failed, health } = this.#options;
    const { name } = served.upstream;
    const get = async (offset: number, asked: RequestOptions): Promise<FillSource> =>
      (
        await askWithAlternates(served, repository, (place) =>
          place.upstream.getBlob(place.repository, digest, offset, asked),
        )
      ).value;
    const kept = intake.kept(digest);
    // From the last byte that is here, not the one after it: of a blob that is whole there would be nothing to send.
    const first = await (kept > 0 ? resume(kept - 1, undefined, (from) => get(from, asked)) : get(0, asked));
    const step = asked.purpose.trace?.begin("fill", {
      "hubcap.digest": digest,
      ...(first.size !== undefined && { "hubcap.size": first.size }),
    });
    const purpose = step ? { ...asked.purpose, trace: step } : asked.purpose;
    const source = {
      resume: (offset: number) => resume(offset, first.size, (from) => get(from, { purpose })),
      progress: (bytes: number) => fetched(name, bytes),
    };
    const space = await intake.open(digest, first.size).catch((error: unknown) => {
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
      });
    }
    const hold = (size: number): Promise<void> => catalog.holdBlob(repository, digest, size);
    const fill = fills.begin(digest, space.ingest, first, { ...source, hold, repository });
    this.#proofs.set(fill, new Set([formatRepository(repository)]));
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
}

function reasonOf({ warm: ahead }: PullContext): Reason {
  return ahead ? "warm" : "pull";
}

function failureOf(error: unknown): FillFailure {
  if (error instanceof IntegrityError) return "corrupt";
  return error instanceof FillError && error.kind === "disk" ? "disk" : "broken";
}

async function deliver(outcome: Outcome, content: Content, ask: PullContext): Promise<BlobResult> {
  const { size } = content;
  if (!ask.head) return { outcome, size, content };
  await content.close();
  return { outcome, size };
}

/**
 * Asks for the rest of a blob, always at the registry's own address: what it redirected to has expired by now.
 * No `If-Range`: another server's ETag may differ for the same bytes, and the digest tells whether they fit.
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
