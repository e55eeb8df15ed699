/** The two files of a data root as a check finds them: looked at only, or repaired. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type Database from "better-sqlite3";
import { checkWhole, isDamage, openBeside, type Schema, SqliteFile } from "./database.ts";
import { catalogName, openFiles, stateName } from "./files.ts";
import { catalogSchema } from "./schema.ts";
import { SqliteProof } from "./state.ts";
import { stateSchema } from "./stateSchema.ts";

/** A database that is damaged, missing, or not proven whole. */
export interface DatabaseFlaw {
  readonly problem: "catalog" | "state";
  /** The file's name. */
  readonly what: string;
}

export interface CheckedFiles {
  readonly catalog: SqliteFile;
  readonly flawed: readonly DatabaseFlaw[];
  /** The state holds as it is. */
  confirm(): Promise<void>;
  close(): Promise<void>;
}

const flaws = {
  catalog: { problem: "catalog", what: catalogName },
  state: { problem: "state", what: stateName },
} as const satisfies Record<string, DatabaseFlaw>;

/** Replaces what is damaged or missing, as a start does. */
export async function repairFiles(root: string): Promise<CheckedFiles> {
  const flawed: DatabaseFlaw[] = [];
  const events = {
    catalogReplaced: () => void flawed.push(flaws.catalog),
    stateReplaced: () => void flawed.push(flaws.state),
  };
  const files = openFiles(root, events, Date.now, { isCheckedWhole: true });
  const proof = new SqliteProof(files.state);
  if (flawed.length === 0 && (await proof.unprovenSince()) !== undefined) flawed.push(flaws.state);
  return { ...files, flawed, confirm: () => proof.confirm() };
}

/** Changes nothing; in place of a catalog that is damaged or missing, an empty one is looked at. */
export async function lookAtFiles(root: string): Promise<CheckedFiles> {
  const flawed: DatabaseFlaw[] = [];
  const catalogDatabase = look(join(root, catalogName), catalogSchema);
  if (catalogDatabase === "damaged") flawed.push(flaws.catalog);
  const isHere = typeof catalogDatabase === "object";
  const catalog = isHere ? new SqliteFile(catalogDatabase) : SqliteFile.inMemory(catalogSchema);
  const stateDatabase = look(join(root, stateName), stateSchema);
  const state = typeof stateDatabase === "object" ? new SqliteFile(stateDatabase) : undefined;
  const isLost = stateDatabase === "missing" && isHere;
  const isUnproven = state && (await new SqliteProof(state).unprovenSince()) !== undefined;
  if (stateDatabase === "damaged" || isLost || isUnproven) flawed.push(flaws.state);
  return {
    catalog,
    flawed,
    confirm: async () => {},
    async close() {
      catalog.close();
      state?.close();
    },
  };
}

function look(path: string, schema: Schema): Database.Database | "damaged" | "missing" {
  if (!existsSync(path)) return "missing";
  let database: Database.Database | undefined;
  try {
    database = openBeside(path, schema);
    checkWhole(database);
    return database;
  } catch (error) {
    database?.close();
    if (!isDamage(error)) throw error;
    return "damaged";
  }
}
