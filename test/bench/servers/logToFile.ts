/**
 * Loaded into Hubcap with `--import`: standard output becomes a file without a name, as docker-registry's log is a file.
 * Through a pipe, the process that measures would have to read every line, at the load's expense.
 */
import { closeSync, openSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isMainThread } from "node:worker_threads";

// Threads load this too, but have the process's output.
if (isMainThread) {
  const path = join(tmpdir(), `hubcap-bench-${process.pid}.log`);
  closeSync(1);
  // The system gives out the lowest number that is free.
  const opened = openSync(path, "wx");
  unlinkSync(path);
  if (opened !== 1) throw new Error(`standard output became ${opened}`);
}
