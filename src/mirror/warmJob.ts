/** One order to fetch images ahead: what was asked for, how far it is, and how each image ended. */
import type { Platform } from "../oci/descriptor.ts";
import { formatPlatform, parsePlatform } from "../oci/platform.ts";
import { formatImage, type Reference, type Repository, type RepositoryName } from "../oci/reference.ts";
import type { WarmProgress } from "./warmImage.ts";
import type { Setback } from "./warmError.ts";

/** Who ordered it: a call of the API, a list of the configuration, or the images that the cluster uses. */
export type WarmOrigin = "api" | "configuration" | "cluster";

/** What is to be fetched ahead. */
export interface WarmOrder {
  readonly origin: WarmOrigin;
  /** Tells the lists of the configuration apart. */
  readonly name: string;
  readonly images: readonly { readonly repository: Repository; readonly reference: Reference }[];
  /** Of each index; empty means all. */
  readonly platforms: readonly Platform[];
  /** Goes on by itself when there is quota again. */
  readonly wait: boolean;
}

/** Where an image stands: `waiting` is for quota. */
export type WarmImageState = "pending" | "running" | "held" | "failed" | "waiting" | "cancelled";

/** `running`; `waiting` until there is quota again; `done`, whether all is held or not; or `cancelled`. */
export type WarmJobState = "running" | "waiting" | "done" | "cancelled";

/** One image of a job. */
export class WarmItem implements WarmProgress {
  readonly repository: Repository;
  readonly reference: Reference;
  state: WarmImageState = "pending";
  setback: Setback | undefined;
  total = 0;
  done = 0;
  readonly running: WarmProgress["running"] = new Set();

  constructor(repository: Repository, reference: Reference) {
    this.repository = repository;
    this.reference = reference;
  }

  get name(): string {
    return formatImage(this.repository, this.reference);
  }

  /** Those that have come so far. */
  get bytes(): number {
    const coming = this.running.values().reduce((sum, { written }) => sum + written, 0);
    return Math.min(this.total, this.done + coming);
  }
}

/** A job as it outlives the process. Not how far it is: what is held is found again. */
interface Written {
  readonly id: string;
  readonly origin: WarmOrigin;
  readonly name: string;
  readonly images: readonly {
    readonly upstream: string;
    readonly name: string;
    readonly reference: string;
    readonly state: WarmImageState;
    readonly error?: string;
    readonly retryAt?: number;
    readonly bytes: number;
  }[];
  readonly platforms: readonly string[];
  readonly wait: boolean;
  readonly createdAt: number;
  readonly endedAt?: number;
  readonly cancelled?: true;
}

export class WarmJob {
  readonly id: string;
  readonly order: Omit<WarmOrder, "images">;
  readonly items: readonly WarmItem[];
  /** ms since the epoch. */
  readonly createdAt: number;
  endedAt: number | undefined;
  state: WarmJobState = "running";
  /** When a waiting job goes on at the latest, as far as that is known. */
  goOnAt: number | undefined;
  readonly cancelling = new AbortController();

  constructor(id: string, { images, ...order }: WarmOrder, createdAt: number) {
    this.id = id;
    this.order = order;
    this.createdAt = createdAt;
    const items = images.map(({ repository, reference }) => new WarmItem(repository, reference));
    // Once each, whatever the list says.
    this.items = [...new Map(items.map((item) => [item.name, item])).values()];
  }

  get isOver(): boolean {
    return this.endedAt !== undefined;
  }

  count(...states: readonly WarmImageState[]): number {
    return this.items.filter(({ state }) => states.includes(state)).length;
  }

  write(): string {
    const { origin, name, platforms, wait } = this.order;
    const written: Written = {
      id: this.id,
      origin,
      name,
      images: this.items.map(({ repository, reference, state, setback, done }) => ({
        upstream: repository.upstream,
        name: repository.name,
        reference,
        state,
        ...(setback && { error: setback.error }),
        ...(setback?.retryAt !== undefined && { retryAt: setback.retryAt }),
        bytes: done,
      })),
      platforms: platforms.map(formatPlatform),
      wait,
      createdAt: this.createdAt,
      ...(this.endedAt !== undefined && { endedAt: this.endedAt }),
      ...(this.state === "cancelled" && { cancelled: true }),
    };
    return JSON.stringify(written);
  }

  /** The job that {@link write} wrote; one that had not ended begins anew, and finds held what it had fetched. */
  static read(text: string): WarmJob {
    const written = JSON.parse(text) as Written;
    const { id, origin, name, wait, createdAt } = written;
    const images = written.images.map((image) => ({
      repository: { upstream: image.upstream, name: image.name as RepositoryName },
      reference: image.reference as Reference,
    }));
    const platforms = written.platforms.flatMap((text) => parsePlatform(text) ?? []);
    const job = new WarmJob(id, { origin, name, images, platforms, wait }, createdAt);
    if (written.endedAt === undefined) return job;
    job.endedAt = written.endedAt;
    job.state = written.cancelled ? "cancelled" : "done";
    for (const [index, item] of job.items.entries()) {
      const { state = "held", error, retryAt, bytes = 0 } = written.images[index] ?? {};
      item.state = state;
      item.total = item.done = bytes;
      if (error !== undefined) {
        const kind = state === "waiting" ? state : "failed";
        item.setback = { state: kind, error, ...(retryAt !== undefined && { retryAt }) };
      }
    }
    return job;
  }
}
