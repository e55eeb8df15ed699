/** Pulling blobs: from disk, from a running fill, or by beginning one. */
import type { Digest } from "../oci/digest.ts";
import { formatRepository, type Repository } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog } from "../store/catalog.ts";
import type { Content } from "../store/content.ts";
import { IntegrityError } from "../store/error.ts";
import { heldBack, type Fill, type Fills, type Source } from "../store/fill.ts";
import type { Room } from "../store/room.ts";
import { UpstreamError } from "../upstream/error.ts";
import type { Asked } from "../upstream/registry.ts";
import type { Answer, Ask, Outcome } from "./ask.ts";
import { inTime, type Inquiries } from "./inquiry.ts";
import { askWithAlternates, type Served } from "./served.ts";

/** A blob for a client. The content must be streamed or closed. */
export interface BlobAnswer extends Answer {
  readonly size: number | undefined;
  /** Absent when only headers were asked for. */
  readonly content?: Content;
}

export interface LayersOptions {
  readonly catalog: Catalog;
  readonly blobs: Blobs;
  readonly fills: Fills;
  readonly room: Pick<Room, "reserve">;
  readonly inquiries: Inquiries;
  /** Told the length of every chunk that was fetched. */
  readonly fetched: (upstream: string, bytes: number) => void;
  /** Told why a fill came to nothing. */
  readonly failed: (upstream: string, reason: "corrupt" | "broken") => void;
}

export class Layers {
  readonly #options: LayersOptions;
  /** Blobs that an upstream was asked for and has not answered yet, and the repository it was asked for. */
  readonly #openings = new Map<Digest, { readonly place: string; readonly over: Promise<unknown> }>();
  /** The repositories whose upstreams have answered for a fill's digest. */
  readonly #proofs = new WeakMap<Fill, Set<string>>();

  constructor(options: LayersOptions) {
    this.#options = options;
  }

  /** The blob, if this repository's upstream knows it. @throws UpstreamError, IntegrityError, FillError */
  async get(served: Served, repository: Repository, digest: Digest, ask: Ask): Promise<BlobAnswer> {
    const answer = this.#get(served, repository, digest, ask);
    try {
      // Each question is answered in time, but those of other repositories may have to be waited for before.
      return await inTime(answer, `${served.upstream.name} did not answer in time`);
    } catch (error) {
      answer.then(
        (late) => late.content?.close(),
        () => {},
      );
      throw error;
    }
  }

  async #get(served: Served, repository: Repository, digest: Digest, ask: Ask): Promise<BlobAnswer> {
    const { catalog, blobs, fills } = this.#options;
    const place = formatRepository(repository);
    // Each turn ends in an answer, or in something having changed while this request waited.
    for (;;) {
      const size = await catalog.blob(repository, digest);
      if (size !== undefined) {
        const content = await blobs.open(digest, size);
        if (content) return deliver("hit", content, ask);
        await catalog.forget(digest);
      }
      const running = fills.get(digest);
      const growing = running?.open();
      if (running && growing) return this.#join(running, growing, served, repository, ask);
      if (ask.head) return { outcome: "miss", size: await this.#exists(served, repository, digest, ask) };
      if ((await catalog.blobAnywhere(digest)) !== undefined) {
        await this.#exists(served, repository, digest, ask);
        await catalog.link(repository, digest);
        continue;
      }
      const opening = this.#openings.get(digest);
      if (opening && opening.place !== place) {
        // What another repository is told is not for this one, but it may bring the bytes.
        await opening.over;
        continue;
      }
      const fill = await this.#begin(served, repository, digest, ask);
      const content = fill.open();
      if (content) return this.#prove(fill, content, opening ? "join" : "miss", ask);
    }
  }

  /** Asks this repository's upstream whether it knows a blob. A HEAD of a blob is counted nowhere. */
  async #exists(served: Served, repository: Repository, digest: Digest, ask: Ask) {
    const about = `blob ${formatRepository(repository)}@${digest}`;
    const { upstream } = served;
    const send = (asked: Asked) =>
      askWithAlternates(served, repository, (place) =>
        place.upstream.headBlob(place.repository, digest, asked),
      );
    const question = { upstream, about, want: "headers", reason: "pull", send } as const;
    return (await this.#options.inquiries.ask(question, ask)).value.size;
  }

  async #join(
    fill: Fill,
    content: Content,
    served: Served,
    repository: Repository,
    ask: Ask,
  ): Promise<BlobAnswer> {
    const place = formatRepository(repository);
    const proofs = this.#proofs.getOrInsertComputed(fill, () => new Set());
    if (!proofs.has(place)) {
      try {
        await this.#exists(served, repository, fill.digest, ask);
      } catch (error) {
        await content.close();
        throw error;
      }
      proofs.add(place);
      fill.settled.then(
        () => this.#options.catalog.link(repository, fill.digest),
        () => {},
      );
    }
    return this.#prove(fill, content, "join", ask);
  }

  /** A blob that lies wholly in the part that is held back is waited for, so that a wrong one is an error and not a cut. */
  async #prove(fill: Fill, content: Content, outcome: Outcome, ask: Ask): Promise<BlobAnswer> {
    if (!ask.head && fill.size !== undefined && fill.size <= heldBack) {
      const started = performance.now();
      try {
        await inTime(fill.proven, "the upstream did not send the blob in time");
      } catch (error) {
        await content.close();
        throw error;
      } finally {
        ask.upstreamMs += performance.now() - started;
      }
    }
    return deliver(outcome, content, ask);
  }

  async #begin(served: Served, repository: Repository, digest: Digest, ask: Ask): Promise<Fill> {
    const place = formatRepository(repository);
    const question = {
      upstream: served.upstream,
      about: `blob ${place}@${digest}`,
      want: "content",
      reason: "pull",
      send: (asked: Asked) => this.#open(served, repository, digest, asked),
    } as const;
    const fill = this.#options.inquiries.ask(question, ask);
    if (!this.#openings.has(digest)) {
      const close = (): boolean => this.#openings.delete(digest);
      this.#openings.set(digest, { place, over: fill.then(close, close) });
    }
    return fill;
  }

  async #open(served: Served, repository: Repository, digest: Digest, asked: Asked): Promise<Fill> {
    const { catalog, blobs, fills, room, fetched, failed } = this.#options;
    const { name } = served.upstream;
    const get = async (offset: number, asked: Asked): Promise<Source> =>
      (
        await askWithAlternates(served, repository, (place) =>
          place.upstream.getBlob(place.repository, digest, offset, asked),
        )
      ).value;
    const first = await get(0, asked);
    // A blob of unknown size, or one for which nothing may go, comes in all the same: the disk is larger than the capacity.
    const reservation = first.size === undefined ? undefined : await room.reserve(first.size);
    const ingest = await blobs.ingest(digest).catch((error: unknown) => {
      first.cancel();
      reservation?.release();
      throw error;
    });
    const { purpose } = asked;
    const fill = fills.begin(digest, ingest, first, {
      resume: (offset) => resume(offset, first.size, (from) => get(from, { purpose })),
      hold: (size) => catalog.holdBlob(repository, digest, size),
      progress: (bytes) => fetched(name, bytes),
    });
    this.#proofs.set(fill, new Set([formatRepository(repository)]));
    fill.settled
      .catch((error: unknown) => failed(name, error instanceof IntegrityError ? "corrupt" : "broken"))
      .finally(() => reservation?.release());
    return fill;
  }
}

async function deliver(outcome: Outcome, content: Content, ask: Ask): Promise<BlobAnswer> {
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
  get: (offset: number) => Promise<Source>,
): Promise<Source> {
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
