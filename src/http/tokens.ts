/** Static tokens of clients, kept as digests. */
import { createHash, timingSafeEqual } from "node:crypto";
import { WatchedFile, type WatchedFileOptions } from "./watchedFile.ts";

/** The tokens of one file, each of which proves the same name. */
export class Tokens {
  readonly name: string;
  readonly #file: WatchedFile<readonly Buffer[]>;

  private constructor(name: string, file: WatchedFile<readonly Buffer[]>) {
    this.name = name;
    this.#file = file;
  }

  /** @throws Error when the file cannot be read or holds no token. */
  static async open(name: string, path: string, options: WatchedFileOptions): Promise<Tokens> {
    return new Tokens(name, await WatchedFile.open(path, readTokens, options));
  }

  /** Is `token` one of them? All are compared, so that the time tells nothing. */
  has(token: string): boolean {
    const given = digestOf(token);
    let isFound = false;
    for (const known of this.#file.value) isFound = timingSafeEqual(given, known) || isFound;
    return isFound;
  }

  close(): void {
    this.#file.close();
  }
}

/** The digests of the tokens in a file, one per line: there are two while one replaces the other. */
function readTokens(text: string): readonly Buffer[] {
  const tokens = text.split(/\r?\n/).filter((line) => line !== "");
  if (tokens.length === 0) throw new Error("it holds no token");
  return tokens.map(digestOf);
}

function digestOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
