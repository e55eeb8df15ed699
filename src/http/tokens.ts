/** Static tokens, known by their digests. */
import { createHash, timingSafeEqual } from "node:crypto";
import { WatchedFile } from "./watchedFile.ts";

/** The tokens of one file, each of which proves the same name. */
export class Tokens {
  readonly name: string;
  readonly #file: WatchedFile<readonly Buffer[]>;

  private constructor(name: string, file: WatchedFile<readonly Buffer[]>) {
    this.name = name;
    this.#file = file;
  }

  /** `failed` is told when the file, once good, cannot be read any more. @throws Error when it is not good now. */
  static async open(
    name: string,
    path: string,
    failed: (path: string, error: unknown) => void,
  ): Promise<Tokens> {
    return new Tokens(name, await WatchedFile.open(path, readTokens, failed));
  }

  /** Is `token` one of them? Every one is compared, so that the time tells nothing. */
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

/** The digests of all tokens in a file, one per line: two of them while one takes the other's place. */
function readTokens(text: string): readonly Buffer[] {
  const tokens = text.split(/\r?\n/).filter((line) => line !== "");
  if (tokens.length === 0) throw new Error("it holds no token");
  return tokens.map(digestOf);
}

function digestOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
