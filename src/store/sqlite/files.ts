/** The two files of a data root: the catalog, which can be rebuilt, and the state with the ledger, which cannot and is backed up. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type Database from "better-sqlite3";
import { backUpInThread, backupOf, replaceState, type Replacement } from "./backup.ts";
import { Checkpointer } from "./checkpoint.ts";
import {
  checkWhole,
  isDamage,
  openBeside,
  openDatabase,
  setAside,
  type Schema,
  SqliteFile,
} from "./database.ts";
import { catalogSchema } from "./schema.ts";
import { stateSchema } from "./stateSchema.ts";
import { markParted, takeOver } from "./takeover.ts";

export const catalogName = "catalog.sqlite";
export const stateName = "state.sqlite";

export interface FileEvents {
  /** The catalog was damaged: it was set aside at `aside`, and an empty one is in its place. */
  catalogReplaced(aside: string, damage: unknown): void;
  /** The state was damaged or lost. */
  stateReplaced(replacement: Replacement, damage: unknown): void;
}

export interface OpenFiles {
  readonly catalog: SqliteFile;
  readonly state: SqliteFile;
  /** Brings what was written to the logs into the files, without holding up the event loop. */
  readonly checkpoint: () => Promise<void>;
  /** Backs the state up, likewise. */
  readonly backUp: () => Promise<void>;
  close(): Promise<void>;
}

/** Opens the files under `root`, which are made, taken over from the version before, or restored. @throws DatabaseError */
export function openFiles(
  root: string,
  events: FileEvents,
  now: () => number,
  { isCheckedWhole = false } = {},
): OpenFiles {
  const open = (path: string, schema: Schema): Database.Database => openWhole(path, schema, isCheckedWhole);
  const catalogPath = join(root, catalogName);
  const statePath = join(root, stateName);
  const isNew = isUnused(root);
  const left = takeOver(catalogPath, statePath, now());
  if (left !== undefined) {
    const damage = new Error("an earlier version has used this folder since: its data were taken over");
    events.stateReplaced({ aside: left, isRestored: false }, damage);
  }
  const openCatalog = (damage?: unknown): Database.Database => {
    if (damage === undefined) return withDamage(() => open(catalogPath, catalogSchema), openCatalog);
    const aside = setAside(catalogPath, now());
    const fresh = open(catalogPath, catalogSchema);
    events.catalogReplaced(aside, damage);
    return fresh;
  };
  const openState = (damage?: unknown): Database.Database => {
    if (damage === undefined) return withDamage(() => open(statePath, stateSchema), openState);
    const replacement = replaceState(statePath, now());
    const state = open(statePath, stateSchema);
    events.stateReplaced(replacement, damage);
    return state;
  };
  const catalog = openCatalog();
  try {
    const isLost = !existsSync(statePath) && !isNew;
    const state = openState(isLost ? new Error(`${statePath} is missing`) : undefined);
    markParted(state);
    const files = { catalog: new SqliteFile(catalog, openCatalog), state: new SqliteFile(state, openState) };
    const checkpointer = new Checkpointer([catalogPath, statePath]);
    return {
      ...files,
      checkpoint: () => checkpointer.run(),
      backUp: () => backUpInThread(statePath),
      async close() {
        await checkpointer.close();
        files.catalog.close();
        files.state.close();
      },
    };
  } catch (error) {
    catalog.close();
    throw error;
  }
}

/** The catalog under `root` to read, beside a process that may be writing it. @throws DatabaseError */
export function openCatalogBeside(root: string): SqliteFile {
  return new SqliteFile(openBeside(join(root, catalogName), catalogSchema));
}

/** Has no Hubcap ever worked here? Then a state that is not there is none that was lost. */
function isUnused(root: string): boolean {
  if (existsSync(join(root, catalogName)) || existsSync(backupOf(join(root, stateName)))) return false;
  const blobs = join(root, "blobs", "sha256");
  return !existsSync(blobs) || readdirSync(blobs).length === 0;
}

/** Small files are checked whole whenever they are opened. */
function openWhole(path: string, schema: Schema, isCheckedWhole: boolean): Database.Database {
  const database = openDatabase(path, schema);
  try {
    if (isCheckedWhole) checkWhole(database);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function withDamage<T>(open: () => T, otherwise: (damage: unknown) => T): T {
  try {
    return open();
  } catch (error) {
    if (!isDamage(error)) throw error;
    return otherwise(error);
  }
}
