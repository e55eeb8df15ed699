/** A file that holds a secret, read again when it changes: mounted secrets are rotated while we run. */
import { readFile, stat } from "node:fs/promises";

/** A secret is short; a larger file is a mistake in the configuration. */
const maxBytes = 1024 * 1024;

/** What a file's text means as `V`, kept as long as the file is the same. */
export class SecretFile<V> {
  readonly #path: string;
  readonly #read: (text: string) => V;
  #held: { readonly version: string; readonly value: V } | undefined;

  constructor(path: string, read: (text: string) => V) {
    this.#path = path;
    this.#read = read;
  }

  /** The current value. @throws what reading the file or its text throws. */
  async value(): Promise<V> {
    const { mtimeMs, size, ino } = await stat(this.#path);
    if (size > maxBytes) throw new Error(`${this.#path} is too large for a secret`);
    const version = `${mtimeMs} ${size} ${ino}`;
    if (this.#held?.version !== version) {
      this.#held = { version, value: this.#read(await readFile(this.#path, "utf8")) };
    }
    return this.#held.value;
  }

  /** Reads the file again next time, changed or not: what it held was refused. */
  forget(): void {
    this.#held = undefined;
  }
}
