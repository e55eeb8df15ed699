/**
 * Checkpoints in a thread of their own, one for all databases: to bring the log's pages into the file is to wait for the disk, which the event loop must
 * not. A thread takes some 10 MB, so it is ended when nothing was written since the last run, and another is begun when something is.
 */
import { once } from "node:events";
import { stat } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import { logLimit } from "./database.ts";

/** File systems tell times by the second at worst: what was written so shortly before may be followed by more at the same time. */
const grainMs = 2000;

export class Checkpointer {
  readonly #paths: readonly string[];
  #worker: Worker | undefined;
  #running: Promise<void> | undefined;
  /** When each log was last written to, if the last checkpoint has surely brought in all of it. */
  readonly #done = new Map<string, number | undefined>();

  /** For the databases at `paths`, which are there. */
  constructor(paths: readonly string[]) {
    this.#paths = paths;
  }

  /** Whether a thread waits for the next checkpoint. */
  get awake(): boolean {
    return this.#worker !== undefined;
  }

  /**
   * Brings what was written so far into the files, and cuts back logs that have grown too long; one run for all who ask.
   * @param now in ms since the epoch
   */
  run(now = Date.now()): Promise<void> {
    this.#running ??= this.#run(now).finally(() => (this.#running = undefined));
    return this.#running;
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  async #run(now: number): Promise<void> {
    let isIdle = true;
    for (const path of this.#paths) {
      const log = await stat(`${path}-wal`).catch(() => undefined);
      const written = log?.mtimeMs;
      // A log that stays too long has a reader in the way, and is tried again without having changed.
      if (log && log.size <= logLimit && written === this.#done.get(path)) continue;
      isIdle = false;
      const worker = (this.#worker ??= this.#begin());
      // eslint-disable-next-line unicorn/require-post-message-target-origin -- windows have origins, threads have none
      worker.postMessage(path);
      await once(worker, "message");
      this.#done.set(path, written !== undefined && now - written > grainMs ? written : undefined);
    }
    if (isIdle) await this.#worker?.terminate();
  }

  #begin(): Worker {
    const worker = new Worker(new URL("checkpointThread.ts", import.meta.url));
    worker.unref();
    worker.once("exit", () => {
      if (this.#worker === worker) this.#worker = undefined;
    });
    return worker;
  }
}
