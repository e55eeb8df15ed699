/** The store put together: one lock, one database, and the work that keeps what is held trustworthy. */
import { join } from "node:path";
import type { Digest } from "../oci/digest.ts";
import { DiskBlobs } from "./disk/blobs.ts";
import type { Blobs } from "./blobs.ts";
import { SqliteCatalog } from "./sqlite/catalog.ts";
import type { Catalog, Inventory, MetadataExpiry, Survey, Verdicts } from "./catalog.ts";
import { Reconciler, type Flaw } from "./repair/reconcile.ts";
import { Fills } from "./fill/fills.ts";
import { Checkpointer } from "./sqlite/checkpoint.ts";
import { SqliteInventory } from "./sqlite/inventory.ts";
import { SqliteLedger } from "./sqlite/ledger.ts";
import { ledgerTables } from "./sqlite/ledgerTables.ts";
import { SqliteMetadataExpiry } from "./sqlite/metadataExpiry.ts";
import {
  SqliteAnchors,
  SqlitePins,
  SqliteSightings,
  SqliteVisibilities,
  SqliteWarmJobs,
} from "./sqlite/state.ts";
import { SqliteVerdicts } from "./sqlite/verdicts.ts";
import type { Ledger } from "../quota/ledger.ts";
import type { State } from "./state.ts";
import { forgiving } from "./forgiving.ts";
import { Health, type Trouble } from "./health.ts";
import { LiveDatabase } from "./sqlite/live.ts";
import { lockRoot, type RootLock } from "./sqlite/lock.ts";
import { withMemoryCache } from "./disk/memoryCache.ts";
import { rest } from "./rest.ts";
import { quarantineShare, sweepQuarantine } from "./repair/quarantine.ts";
import { Scrub } from "./repair/scrub.ts";
import { SqliteSurvey } from "./sqlite/survey.ts";

/** What happens in the store that somebody may want to know of. */
export interface StoreEvents {
  /** A blob was taken out of service. */
  condemned(digest: Digest, flaw: Flaw): void;
  /** A damaged catalog was set aside at `aside`. */
  replaced(aside: string, error: unknown): void;
  /** Blobs that had no row have one again. */
  adopted(count: number): void;
  scrubbed(bytes: number): void;
  /** Work in the background could not go on; it will be tried again. */
  failed(error: unknown): void;
  /** The disk is in trouble, or has recovered. */
  trouble(trouble: Trouble | undefined): void;
}

export interface StoreOptions {
  readonly root: string;
  /** Bytes that blobs leave free. */
  readonly minFree: number;
  /** Bytes that are held at most. */
  readonly capacity: number;
  /** Bytes per second, and ms. */
  readonly scrub: { readonly rate: number; readonly every: number };
  readonly events: StoreEvents;
}

/** Tables that cannot be made again. */
const lasting = ["pin", "immutable_tag", "sighting"].map((name) => ({ prefix: name, version: name }));

/** How often the disk is looked after, in ms. */
const careEveryMs = 5_000;

/** How often what went to quarantine is looked through, in ms. */
const sweepEveryMs = 60 * 60_000;

export class Store {
  readonly blobs: Blobs;
  readonly catalog: Catalog;
  readonly custody: Reconciler;
  readonly inventory: Inventory;
  readonly survey: Survey;
  readonly expiry: MetadataExpiry;
  readonly verdicts: Verdicts;
  readonly state: State;
  readonly ledger: Ledger;
  readonly fills: Fills;
  readonly health: Health;
  readonly #options: StoreOptions;
  readonly #lock: RootLock;
  readonly #database: LiveDatabase;
  readonly #checkpointer: Checkpointer;
  #caring: AbortSignal | undefined;

  private constructor(options: StoreOptions, lock: RootLock, blobs: Blobs, database: LiveDatabase) {
    const { root, minFree, events } = options;
    this.#options = options;
    this.#lock = lock;
    this.#database = database;
    this.#checkpointer = new Checkpointer(database.path);
    this.blobs = blobs;
    this.health = new Health({ root, minFree, changed: (trouble) => events.trouble(trouble) });
    const catalog = database.over((handle) => new SqliteCatalog(handle));
    const forgives = (error: unknown): boolean => this.health.note(error) !== undefined;
    this.catalog = forgiving(catalog, forgives);
    this.inventory = database.over((handle) => new SqliteInventory(handle));
    this.survey = database.over((handle) => new SqliteSurvey(handle));
    this.expiry = database.over((handle) => new SqliteMetadataExpiry(handle));
    this.verdicts = database.over((handle) => new SqliteVerdicts(handle));
    this.ledger = database.over((handle) => new SqliteLedger(handle));
    this.state = {
      pins: database.over((handle) => new SqlitePins(handle)),
      anchors: database.over((handle) => new SqliteAnchors(handle)),
      sightings: database.over((handle) => new SqliteSightings(handle)),
      visibilities: forgiving(
        database.over((handle) => new SqliteVisibilities(handle)),
        forgives,
      ),
      warmJobs: database.over((handle) => new SqliteWarmJobs(handle)),
    };
    const condemned = (digest: Digest, flaw: Flaw): void => events.condemned(digest, flaw);
    this.custody = new Reconciler({ blobs, catalog: this.catalog, forgives, condemned });
    this.fills = new Fills((digest, work) => this.custody.keep(digest, work));
  }

  /** Opens the store under `root`, which nobody else may have open. @throws LockedError, DatabaseError */
  static async open(options: StoreOptions): Promise<Store> {
    const lock = lockRoot(options.root);
    try {
      const blobs = withMemoryCache(await DiskBlobs.at(options.root));
      const { events } = options;
      const whenReplaced = { rebuild: (): void => {} };
      const database = new LiveDatabase(join(options.root, "catalog.sqlite"), {
        // What operators have pinned cannot be told from the blobs either, nor can what tags meant once.
        keep: [ledgerTables, ...lasting],
        replaced: (aside, error) => {
          events.replaced(aside, error);
          whenReplaced.rebuild();
        },
      });
      const storage = new Store(options, lock, blobs, database);
      whenReplaced.rebuild = () => storage.#rebuild();
      return storage;
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** Adopts what has no row, scrubs, and looks after the disk, until `signal` is aborted. */
  async care(signal: AbortSignal): Promise<void> {
    this.#caring = signal;
    const { scrub, events } = this.#options;
    const { custody, survey } = this;
    const scrubbing = new Scrub({
      survey,
      custody,
      ...scrub,
      scrubbed: (bytes) => events.scrubbed(bytes),
      failed: (error) => events.failed(error),
    });
    await Promise.all([
      this.#adoptAll(signal).then(() => scrubbing.run(signal)),
      this.#lookAfter(signal),
      this.#lookThrough(signal),
    ]);
  }

  /** Brings what was written to the log into the file, without holding up the event loop. */
  readonly checkpoint = (): Promise<void> => this.#checkpointer.run();

  /** Lets go of everything. Nobody may use the store any more. */
  async close(): Promise<void> {
    await this.#checkpointer.close();
    this.#database.close();
    this.#lock.release();
  }

  /** The catalog was replaced by an empty one while it was in use. */
  #rebuild(): void {
    if (this.#caring) void this.#adoptAll(this.#caring);
  }

  async #adoptAll(signal: AbortSignal): Promise<void> {
    try {
      const count = await this.custody.adoptAll(signal);
      if (count > 0) this.#options.events.adopted(count);
    } catch (error) {
      if (!signal.aborted) this.#options.events.failed(error);
    }
  }

  async #lookThrough(signal: AbortSignal): Promise<void> {
    const { root, capacity, events } = this.#options;
    while (!signal.aborted) {
      const bytes = capacity * quarantineShare;
      await sweepQuarantine(join(root, "quarantine"), bytes, Date.now()).catch((error: unknown) =>
        events.failed(error),
      );
      await rest(sweepEveryMs, signal);
    }
  }

  async #lookAfter(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.health.check();
      await rest(careEveryMs, signal);
    }
  }
}
