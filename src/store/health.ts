/** How the disk is doing: whether blobs may be written to it, and whether it has recovered since it failed. */
import { join } from "node:path";
import { troubleOf, type Trouble } from "./error.ts";
import type { Files } from "./disk/files.ts";

export interface HealthOptions {
  readonly root: string;
  /** Bytes that blobs leave free. */
  readonly minFree: number;
  /** Called when a trouble begins, turns into the other, or is over. */
  readonly changed: (trouble: Trouble | undefined) => void;
  readonly files: Files;
}

/** What is wrong although pulls are served: for programs, and for people. */
export interface Degraded {
  readonly reason: `disk-${Trouble}` | "state-unproven";
  readonly text: string;
}

export class Health {
  readonly #options: HealthOptions;
  readonly #files: Files;
  #trouble: Trouble | undefined;
  /** When the state came from a backup, or was made anew (ms since the epoch), if that is not confirmed. */
  unprovenSince: number | undefined;

  constructor(options: HealthOptions) {
    this.#options = options;
    this.#files = options.files;
  }

  get trouble(): Trouble | undefined {
    return this.#trouble;
  }

  /** What is wrong with the disk; undefined when nothing is. */
  get degraded(): Degraded | undefined {
    return this.#trouble && { reason: `disk-${this.#trouble}`, text: `the disk is ${this.#trouble}` };
  }

  /** That the state is not proven whole; undefined when it is. */
  get unproven(): Degraded | undefined {
    if (this.unprovenSince === undefined) return undefined;
    const restored = new Date(this.unprovenSince).toISOString();
    const text = `the state was restored at ${restored}, which hubcap fsck --repair is to confirm`;
    return { reason: "state-unproven", text };
  }

  /** Takes note of what went wrong; gives the trouble if it was the disk's fault. */
  note(error: unknown): Trouble | undefined {
    const trouble = troubleOf(error);
    if (trouble) this.#set(trouble);
    return trouble;
  }

  /** Why `bytes` more should not be written now; undefined when they may be. */
  async refusal(bytes: number): Promise<Trouble | undefined> {
    if (this.#trouble) return this.#trouble;
    try {
      return (await this.#free()) < bytes ? "full" : undefined;
    } catch (error) {
      return this.note(error);
    }
  }

  /** Looks whether there is space, and after a trouble, whether a file can be written again. */
  async check(): Promise<void> {
    try {
      if ((await this.#free()) < 0) return this.#set("full");
      if (this.#trouble) await this.#probe();
      this.#set(undefined);
    } catch (error) {
      this.note(error);
    }
  }

  /** Bytes that blobs may still take; negative when they have taken more. */
  async #free(): Promise<number> {
    const { root, minFree } = this.#options;
    return (await this.#files.free(root)) - minFree;
  }

  async #probe(): Promise<void> {
    const path = join(this.#options.root, "probe");
    await this.#files.remove(path).catch(() => {});
    const file = await this.#files.create(path);
    try {
      // As much as a block, which a file system may not have when it still has space for a name.
      const { bytesWritten } = await file.write(Buffer.alloc(4096), 0, 4096, 0);
      if (bytesWritten < 4096) throw Object.assign(new Error("a short write"), { code: "ENOSPC" });
      await file.sync();
    } finally {
      await file.close();
      await this.#files.remove(path);
    }
  }

  #set(trouble: Trouble | undefined): void {
    if (trouble === this.#trouble) return;
    this.#trouble = trouble;
    this.#options.changed(trouble);
  }
}
