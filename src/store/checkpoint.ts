/** Checkpoints in a thread of their own: to bring the log's pages into the file is to wait for the disk, which the event loop must not. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";

export class Checkpointer {
  readonly #worker: Worker;
  #running: Promise<void> | undefined;

  /** For the database at `path`, which is there. */
  constructor(path: string) {
    this.#worker = new Worker(new URL("checkpointThread.ts", import.meta.url), { workerData: path });
    this.#worker.unref();
  }

  /** Brings what was written so far into the file, and cuts back a log that has grown too long; one run for all who ask. */
  run(): Promise<void> {
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
    return this.#running;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  async #run(): Promise<void> {
    // eslint-disable-next-line unicorn/require-post-message-target-origin -- windows have origins, threads have none
    this.#worker.postMessage("checkpoint");
    await once(this.#worker, "message");
  }
}
