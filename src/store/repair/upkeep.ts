/** The work that keeps an open store trustworthy while a process serves it. */
import type { Clock } from "../../async/clock.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Blobs } from "../blobs.ts";
import type { Catalog } from "../catalog.ts";
import type { Trouble } from "../error.ts";
import { Fills } from "../fill/fills.ts";
import { Health } from "../health.ts";
import type { Store } from "../open.ts";
import { TolerantBlobs, TolerantCatalog } from "../tolerant.ts";
import { Reconciler, type Flaw } from "./reconcile.ts";
import { Scrub } from "./scrub.ts";

/** What happens in the store that an operator may want to know of. */
export interface UpkeepEvents {
  /** A blob was taken out of service. */
  condemned(digest: Digest, flaw: Flaw): void;
  /** Blobs that had no row have one again. */
  adopted(count: number): void;
  scrubbed(bytes: number): void;
  /** Work in the background could not go on; it will be tried again. */
  failed(error: unknown): void;
  /** The store is in trouble, or has recovered. */
  trouble(trouble: Trouble | undefined): void;
}

export interface UpkeepOptions {
  readonly store: Store;
  readonly root: string;
  /** Bytes that blobs leave free. */
  readonly minFree: number;
  /** Bytes that are held at most. */
  readonly capacity: number;
  /** Bytes per second, and ms. */
  readonly scrub: { readonly rate: number; readonly every: number };
  readonly events: UpkeepEvents;
  readonly clock: Clock;
}

/** How often the disk is looked after, in ms. */
const healthEveryMs = 5_000;

/** How often quarantine is looked through, in ms. */
const sweepEveryMs = 60 * 60_000;

/** How often the state and the ledger are backed up, in ms. */
const backUpEveryMs = 15 * 60_000;

export class Upkeep {
  /** These are the store's own, but for a store that does not answer: what it does not say is not known then. */
  readonly catalog: Catalog;
  readonly blobs: Blobs;
  readonly reconciler: Reconciler;
  readonly fills: Fills;
  readonly health: Health;
  readonly #options: UpkeepOptions;
  #running: AbortSignal | undefined;

  constructor(options: UpkeepOptions) {
    const { store, root, minFree, events } = options;
    this.#options = options;
    const changed = (trouble: Trouble | undefined): void => events.trouble(trouble);
    this.health = new Health({ root, minFree, changed, files: store.files });
    const isStoreTrouble = (error: unknown): boolean => this.health.note(error) !== undefined;
    this.catalog = new TolerantCatalog(store.catalog, this.health);
    this.blobs = new TolerantBlobs(store.blobs, this.health);
    const condemned = (digest: Digest, flaw: Flaw): void => events.condemned(digest, flaw);
    this.reconciler = new Reconciler({
      blobs: this.blobs,
      catalog: this.catalog,
      isStoreTrouble,
      condemned,
    });
    this.fills = new Fills(options.clock, (digest, work) => this.reconciler.keep(digest, work));
  }

  /** Gives blobs without a row one, scrubs, backs up and watches the disk, until `signal` is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    this.#running = signal;
    const { scrub, events, store, capacity } = this.#options;
    const scrubbing = new Scrub({
      survey: store.survey,
      reconciler: this.reconciler,
      ...scrub,
      scrubbed: (bytes) => events.scrubbed(bytes),
      failed: (error) => events.failed(error),
    });
    await Promise.all([
      this.#adoptAll(signal).then(() => scrubbing.run(signal)),
      this.#every(healthEveryMs, signal, () => this.health.check()),
      this.#every(sweepEveryMs, signal, () => store.sweepQuarantine(capacity)),
      this.#every(backUpEveryMs, signal, this.backUp),
    ]);
  }

  /** Backs up the state and the ledger now. */
  readonly backUp = async (): Promise<void> => {
    try {
      await this.#options.store.backUp();
    } catch (error) {
      this.health.note(error);
      this.#options.events.failed(error);
    }
  };

  /** Has readiness say whether the state is proven whole. To be called at the start, and when it was replaced. */
  async readProof(): Promise<void> {
    try {
      this.health.unprovenSince = await this.#options.store.state.proof.unprovenSince();
    } catch (error) {
      if (this.health.note(error) === undefined) throw error;
    }
  }

  /** The catalog was replaced by an empty one while it was in use. */
  rebuild(): void {
    if (this.#running) void this.#adoptAll(this.#running);
  }

  async #adoptAll(signal: AbortSignal): Promise<void> {
    try {
      const count = await this.reconciler.adoptAll(signal);
      if (count > 0) this.#options.events.adopted(count);
    } catch (error) {
      if (!signal.aborted) this.#options.events.failed(error);
    }
  }

  /** Does `work` now and every `ms`, until `signal` is aborted. */
  async #every(ms: number, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    const { clock, events } = this.#options;
    while (!signal.aborted) {
      await work().catch((error: unknown) => events.failed(error));
      await clock.sleep(ms, signal);
    }
  }
}
