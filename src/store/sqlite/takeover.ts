/**
 * A data root of the version before, which had one file for everything, is taken over: what cannot be rebuilt is copied into a
 * file of its own, and only then dropped from the catalog. After a crash at any point the next start goes on.
 */
import { existsSync } from "node:fs";
import Database from "better-sqlite3";
import { isDamage, moveForGood, openDatabase, removeDatabase, setAside, versionOf } from "./database.ts";
import { oldCatalogSchema } from "./schema.ts";
import { movedTables, stateSchema } from "./stateSchema.ts";

/**
 * Makes the state's file from a catalog of before, which is backed up before anything of it is changed. Does nothing when that has been done.
 * @returns where a state was set aside that an operator had left by going back to the version before and forth again
 */
export function takeOver(catalogPath: string, statePath: string, now: number): string | undefined {
  const version = versionOf(catalogPath) ?? 0;
  if (version === 0 || version > oldCatalogSchema.steps.length) return undefined;
  const isThere = existsSync(statePath);
  // Otherwise a crash came between the copy and the drop: the catalog was not written to in between.
  if (isThere && !isParted(statePath)) return undefined;
  const aside = isThere ? setAside(statePath, now) : undefined;
  try {
    openDatabase(catalogPath, oldCatalogSchema).close();
    copy(catalogPath, statePath);
  } catch (error) {
    // The catalog is damaged, which is found again, and treated, when it is opened.
    if (!isDamage(error)) throw error;
  }
  return aside;
}

/** The catalog does not have the state's tables any more. */
export function markParted(state: Database.Database): void {
  state.exec("UPDATE origin SET parted = 1 WHERE parted = 0");
}

function isParted(statePath: string): boolean {
  try {
    const state = new Database(statePath, { timeout: 200 });
    try {
      return state.prepare("SELECT parted FROM origin").pluck().get() === 1;
    } finally {
      state.close();
    }
  } catch (error) {
    // What is damaged is set aside when it is opened.
    if (isDamage(error)) return false;
    throw error;
  }
}

function copy(catalogPath: string, statePath: string): void {
  const partial = `${statePath}.partial`;
  removeDatabase(partial);
  const state = openDatabase(partial, stateSchema);
  try {
    state.prepare("ATTACH ? AS old").run(catalogPath);
    state.transaction(() => {
      for (const table of movedTables) state.exec(`INSERT INTO main.${table} SELECT * FROM old.${table}`);
      // No number of an entry is used twice.
      state.exec(`DELETE FROM main.sqlite_sequence WHERE name = 'quota_entry'`);
      state.exec(
        `INSERT INTO main.sqlite_sequence SELECT name, seq FROM old.sqlite_sequence WHERE name = 'quota_entry'`,
      );
    })();
    state.exec("DETACH old");
    state.pragma("journal_mode = DELETE");
  } finally {
    state.close();
  }
  moveForGood(partial, statePath);
}
