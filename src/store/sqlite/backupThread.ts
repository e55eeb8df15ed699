/** The thread of {@link backUpInThread}: copies one database, so that the event loop waits neither for the disk nor for the copying. */
import { workerData } from "node:worker_threads";
import Database from "better-sqlite3";
import { backUp } from "./database.ts";

const task = workerData as { readonly from: string; readonly to: string } | null;
// The image's build imports this file to have it compiled.
if (task) {
  // Not read-only: a reader of a log that no one else has open must be able to write its index.
  const database = new Database(task.from, { fileMustExist: true, timeout: 5_000 });
  try {
    // Reads all rows, so a file that is damaged makes no backup.
    backUp(database, task.to);
  } finally {
    database.close();
  }
}
