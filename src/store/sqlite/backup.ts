/** Copies of the state's file: made in a thread of their own, and put in place of a file that is damaged or lost. */
import { once } from "node:events";
import { copyFileSync, existsSync } from "node:fs";
import { Worker } from "node:worker_threads";
import type Database from "better-sqlite3";
import { checkWhole, isDamage, moveForGood, openDatabase, removeDatabase, setAside } from "./database.ts";
import { stateSchema } from "./stateSchema.ts";

/** Where the backup of the file at `path` lies. */
export const backupOf = (path: string): string => `${path}.backup`;

/** Backs up the database at `path`. @throws what kept it from being read or written; the backup before stays then */
export async function backUpInThread(path: string): Promise<void> {
  const thread = new Worker(new URL("backupThread.ts", import.meta.url), {
    workerData: { from: path, to: backupOf(path) },
  });
  // Rejects with what the thread throws.
  await once(thread, "exit");
}

/** How a state's file came to be in the place of one that was damaged or lost. */
export interface Replacement {
  /** Where the damaged file lies now; undefined when there was none. */
  readonly aside: string | undefined;
  /** It is as it was backed up last; otherwise it is empty. */
  readonly isRestored: boolean;
}

/** Puts the backup in the place of the file at `path`, or an empty one, and marks it as not proven whole. */
export function replaceState(path: string, now: number): Replacement {
  const aside = existsSync(path) ? setAside(path, now) : undefined;
  const partial = `${path}.partial`;
  const backup = backupOf(path);
  let isRestored = existsSync(backup);
  let state: Database.Database;
  try {
    removeDatabase(partial);
    if (isRestored) copyFileSync(backup, partial);
    state = openDatabase(partial, stateSchema);
    if (isRestored) checkWhole(state);
  } catch (error) {
    if (!isRestored || !isDamage(error)) throw error;
    setAside(backup, now);
    isRestored = false;
    removeDatabase(partial);
    state = openDatabase(partial, stateSchema);
  }
  try {
    state.transaction(() => {
      state.prepare("UPDATE origin SET unproven_since = ?, parted = 1").run(now);
      // The lost file gave numbers to entries that this one does not know of. No number is used twice.
      state.exec("DELETE FROM sqlite_sequence WHERE name = 'quota_entry'");
      state.prepare("INSERT INTO sqlite_sequence VALUES ('quota_entry', ?)").run(now);
    })();
    state.pragma("journal_mode = DELETE");
  } finally {
    state.close();
  }
  moveForGood(partial, path);
  return { aside, isRestored };
}
