/** A file that is read again when it changes, and of which the last good reading counts. */
import { readFile } from "node:fs/promises";

/** How often it is looked at, in ms. */
const everyMs = 2000;

/** What a file's text means as `V`. */
export class WatchedFile<V> {
  readonly #path: string;
  readonly #read: (text: string) => V;
  readonly #failed: (path: string, error: unknown) => void;
  #text: string;
  #value: V;
  #complaint: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  private constructor(
    path: string,
    read: (text: string) => V,
    text: string,
    failed: (path: string, error: unknown) => void,
  ) {
    this.#path = path;
    this.#read = read;
    this.#failed = failed;
    this.#text = text;
    this.#value = read(text);
    this.#next();
  }

  /** `failed` is told once when what comes later cannot be read. @throws what reading the file or its text throws. */
  static async open<V>(
    path: string,
    read: (text: string) => V,
    failed: (path: string, error: unknown) => void,
  ): Promise<WatchedFile<V>> {
    return new WatchedFile(path, read, await readFile(path, "utf8"), failed);
  }

  get value(): V {
    return this.#value;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Reads the file now. */
  async look(): Promise<void> {
    try {
      const text = await readFile(this.#path, "utf8");
      if (text !== this.#text) this.#value = this.#read(text);
      this.#text = text;
      this.#complaint = undefined;
    } catch (error) {
      const complaint = error instanceof Error ? error.message : String(error);
      if (complaint === this.#complaint) return;
      this.#complaint = complaint;
      this.#failed(this.#path, error);
    }
  }

  // Read and not watched, for the reasons that certificates are.
  #next(): void {
    this.#timer = setTimeout(() => {
      void this.look().finally(() => {
        if (this.#timer) this.#next();
      });
    }, everyMs).unref();
  }
}
