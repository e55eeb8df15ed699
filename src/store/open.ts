/** Opens the store for whoever needs it: the only place where an engine is named. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Ledger } from "../quota/ledger.ts";
import type { Blobs, StrayFiles } from "./blobs.ts";
import type { LastingTable } from "./evict/lasting.ts";
import type { Catalog, Inventory, MetadataExpiry, Survey, Verdicts } from "./catalog.ts";
import { DiskBlobs } from "./disk/blobs.ts";
import { disk, type Files } from "./disk/files.ts";
import { quarantineShare, sweepQuarantine } from "./disk/quarantine.ts";
import { DiskStrayFiles } from "./disk/strayFiles.ts";
import { withMemoryCache } from "./disk/memoryCache.ts";
import { SqliteCatalog } from "./sqlite/catalog.ts";
import type { SqliteFile } from "./sqlite/database.ts";
import { lookAtFiles, repairFiles, type DatabaseFlaw } from "./sqlite/checkedFiles.ts";
import { openCatalogBeside, openFiles, type FileEvents } from "./sqlite/files.ts";
import { SqliteLastingTable } from "./sqlite/lasting.ts";
import { SqliteInventory } from "./sqlite/inventory.ts";
import { SqliteLedger } from "./sqlite/ledger.ts";
import { LockedError, lockRoot, type RootLock } from "./sqlite/lock.ts";
import { SqliteMetadataExpiry } from "./sqlite/metadataExpiry.ts";
import {
  SqliteAnchors,
  SqlitePins,
  SqliteProof,
  SqliteSightings,
  SqliteVisibilities,
  SqliteWarmJobs,
} from "./sqlite/state.ts";
import { SqliteSurvey } from "./sqlite/survey.ts";
import { SqliteVerdicts } from "./sqlite/verdicts.ts";
import type { State } from "./state.ts";

export type { Replacement } from "./sqlite/backup.ts";
export type { FileEvents } from "./sqlite/files.ts";

/** What can be read of a store, beside the process that has it open. */
export interface StoreReader {
  readonly blobs: Blobs;
  readonly catalog: Catalog;
  readonly inventory: Inventory;
  readonly survey: Survey;
  close(): Promise<void>;
}

/** A store that no other process has open. */
export interface Store extends StoreReader {
  readonly expiry: MetadataExpiry;
  readonly lasting: readonly LastingTable[];
  /** Bytes of the databases that are in use, by their files. */
  readonly databaseBytes: () => Promise<Readonly<Record<"catalog" | "state", number>>>;
  readonly verdicts: Verdicts;
  readonly state: State;
  readonly ledger: Ledger;
  /** What the blobs are written with. */
  readonly files: Files;
  /** Brings what was written to logs into the databases, without holding up the event loop. */
  readonly checkpoint: () => Promise<void>;
  /** Backs up the state and the ledger, likewise. */
  readonly backUp: () => Promise<void>;
  /** Removes what has been in quarantine for long, and the oldest of what is more than a share of `capacity`. */
  readonly sweepQuarantine: (capacity: number) => Promise<void>;
}

export interface StoreOptions {
  readonly root: string;
  readonly events?: FileEvents;
  readonly now?: () => number;
  /** The operations on files that a commit rests on; the system's unless given. */
  readonly files?: Files;
}

const noEvents: FileEvents = { catalogReplaced: () => {}, stateReplaced: () => {} };

/**
 * Opens the store under `root`, which is made, taken over from the version before, or restored. @throws LockedError while another
 * process has it open; DatabaseError
 */
export async function openStore({
  root,
  events = noEvents,
  now = Date.now,
  files: operations = disk,
}: StoreOptions): Promise<Store> {
  const lock = lockRoot(root);
  try {
    const files = openFiles(root, events, now);
    const { catalog, state, checkpoint, backUp } = files;
    return {
      ...readingParts(catalog, now),
      blobs: withMemoryCache(await DiskBlobs.at(root, operations, now())),
      expiry: new SqliteMetadataExpiry(catalog),
      lasting: [
        new SqliteLastingTable(state, "visibility"),
        new SqliteLastingTable(state, "sighting"),
        new SqliteLastingTable(state, "immutable_tag"),
        new SqliteLastingTable(catalog, "verdict"),
      ],
      databaseBytes: async () => ({
        catalog: await catalog.usedBytes(),
        state: await state.usedBytes(),
      }),
      verdicts: new SqliteVerdicts(catalog),
      state: {
        pins: new SqlitePins(state),
        anchors: new SqliteAnchors(state),
        sightings: new SqliteSightings(state),
        visibilities: new SqliteVisibilities(state),
        warmJobs: new SqliteWarmJobs(state),
        proof: new SqliteProof(state),
      },
      ledger: new SqliteLedger(state),
      files: operations,
      checkpoint,
      backUp,
      sweepQuarantine: (capacity) =>
        sweepQuarantine(join(root, "quarantine"), capacity * quarantineShare, now()),
      async close() {
        await files.close();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Opens what is under `root` to read, beside the process that has it open. @throws Error when there is nothing; DatabaseError */
export function openStoreBeside(root: string): StoreReader {
  if (!existsSync(join(root, "catalog.sqlite"))) throw new Error(`there is no store at ${root}`);
  const catalog = openCatalogBeside(root);
  return {
    ...readingParts(catalog, Date.now),
    blobs: withMemoryCache(DiskBlobs.beside(root)),
    close: async () => catalog.close(),
  };
}

/** A store that is being checked. */
export interface StoreToCheck extends Omit<StoreReader, "inventory"> {
  /** Another process has it open. */
  readonly isRunning: boolean;
  /** Which of its databases are damaged, missing, or not proven whole; where it is to be repaired, they are replaced by now. */
  readonly flawed: readonly DatabaseFlaw[];
  readonly strayFiles: StrayFiles;
  /** The state holds as it is. */
  confirm(): Promise<void>;
}

/**
 * Opens what is under `root` to check it, whatever its condition: with `isToBeRepaired` to change it. @throws LockedError when it
 * is to be changed and another process has it open
 */
export async function openStoreToCheck(root: string, isToBeRepaired: boolean): Promise<StoreToCheck> {
  const lock = lockUnlessRunning(root, isToBeRepaired);
  try {
    const files = await (isToBeRepaired ? repairFiles(root) : lookAtFiles(root));
    return {
      catalog: new SqliteCatalog(files.catalog),
      survey: new SqliteSurvey(files.catalog),
      blobs: DiskBlobs.beside(root),
      isRunning: lock === undefined,
      flawed: files.flawed,
      strayFiles: new DiskStrayFiles(root),
      confirm: () => files.confirm(),
      async close() {
        await files.close();
        lock?.release();
      },
    };
  } catch (error) {
    lock?.release();
    throw error;
  }
}

function lockUnlessRunning(root: string, isNeeded: boolean): RootLock | undefined {
  try {
    return lockRoot(root);
  } catch (error) {
    if (isNeeded || !(error instanceof LockedError)) throw error;
    return undefined;
  }
}

function readingParts(catalog: SqliteFile, now: () => number) {
  return {
    catalog: new SqliteCatalog(catalog, now),
    inventory: new SqliteInventory(catalog),
    survey: new SqliteSurvey(catalog),
  };
}
