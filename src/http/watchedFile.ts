/** Files that are read again while they are used, and of which the last good content counts. */
import { readFile } from "node:fs/promises";
import type { Clock } from "../async/clock.ts";

const everyMs = 2000;

/**
 * Calls `look` every two seconds, after the call before has ended, until the returned function is called. Files are read and
 * not watched: Kubernetes swaps a link two folders up when it renews a mounted secret, which a watch of the file does not
 * see, and network file systems report nothing at all. What they hold decides, not their times.
 */
export function poll(look: () => Promise<void>, clock: Clock): () => void {
  let cancel: (() => void) | undefined;
  const plan = (): void => {
    cancel = clock.after(everyMs, () => {
      void look().finally(() => {
        if (cancel) plan();
      });
    });
  };
  plan();
  return () => {
    cancel?.();
    cancel = undefined;
  };
}

export interface WatchedFileOptions {
  readonly clock: Clock;
  /** Called once for each reason why new content cannot be read. */
  readonly failed: (path: string, error: unknown) => void;
}

/** A file whose text is read as a `V`. */
export class WatchedFile<V> {
  readonly #path: string;
  readonly #read: (text: string) => V;
  readonly #failed: WatchedFileOptions["failed"];
  readonly #stop: () => void;
  #text: string;
  #value: V;
  #failure: string | undefined;

  private constructor(
    path: string,
    read: (text: string) => V,
    text: string,
    { clock, failed }: WatchedFileOptions,
  ) {
    this.#path = path;
    this.#read = read;
    this.#failed = failed;
    this.#text = text;
    this.#value = read(text);
    this.#stop = poll(() => this.#look(), clock);
  }

  /** @throws what reading the file, or `read`, throws. */
  static async open<V>(
    path: string,
    read: (text: string) => V,
    options: WatchedFileOptions,
  ): Promise<WatchedFile<V>> {
    return new WatchedFile(path, read, await readFile(path, "utf8"), options);
  }

  get value(): V {
    return this.#value;
  }

  close(): void {
    this.#stop();
  }

  async #look(): Promise<void> {
    try {
      const text = await readFile(this.#path, "utf8");
      if (text !== this.#text) this.#value = this.#read(text);
      this.#text = text;
      this.#failure = undefined;
    } catch (error) {
      const failure = error instanceof Error ? error.message : String(error);
      if (failure === this.#failure) return;
      this.#failure = failure;
      this.#failed(this.#path, error);
    }
  }
}
