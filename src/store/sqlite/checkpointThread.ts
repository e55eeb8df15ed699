/** The thread of {@link Checkpointer}: for each message, one checkpoint of the database at that path. */
import { statSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import Database from "better-sqlite3";
import { logLimit } from "./database.ts";

parentPort?.on("message", (path: string) => {
  try {
    // Opened each time: a damaged file is set aside, and another one has its name then.
    const database = new Database(path, { fileMustExist: true, timeout: 0 });
    try {
      // Passive: brings in what it can, and makes no one wait.
      database.pragma("wal_checkpoint(PASSIVE)");
      // A long read elsewhere may have let the log grow. What is left to bring in is little now, and who still reads is not waited for.
      const { size } = statSync(`${database.name}-wal`);
      if (size > logLimit) database.pragma("wal_checkpoint(TRUNCATE)");
    } finally {
      database.close();
    }
  } catch {
    // A disk that is full or failing is noticed by those who write; this is tried again.
  }
  // eslint-disable-next-line unicorn/require-post-message-target-origin -- windows have origins, threads have none
  parentPort?.postMessage("done");
});
