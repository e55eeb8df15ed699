/** One process for a data root: a lock that the kernel takes back when its holder ends, however it ends. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { makeFolder } from "../folder.ts";

/** Somebody else works in this data root; the message says what to do. */
export class LockedError extends Error {
  override readonly name = "LockedError";
}

export interface RootLock {
  release(): void;
}

/**
 * Locks `root`, which is created. Node has no lock on files, SQLite has: a transaction on a file of its own, which stays
 * empty. @throws LockedError when another process holds it.
 */
export function lockRoot(root: string): RootLock {
  makeFolder(root);
  const database = new Database(join(root, "lock"), { timeout: 0 });
  try {
    database.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if ((error as { code?: unknown }).code !== "SQLITE_BUSY") throw error;
    throw new LockedError(
      `another Hubcap is using ${root}: stop it first, or give this one another storage.root`,
      { cause: error },
    );
  }
  return { release: () => void database.close() };
}
