/** Users of an htpasswd file, whose passwords are bcrypt hashes and nothing else. */
import { createHmac, randomBytes } from "node:crypto";
import { compare, hash as bcryptHash } from "bcrypt";
import { LRUCache } from "lru-cache";
import { Semaphore } from "../async/semaphore.ts";
import { RegistryError } from "../oci/error.ts";
import { WatchedFile } from "./watchedFile.ts";
import { Counter } from "./limits.ts";

/** What a check may cost: more, and a handful of wrong passwords would be a denial of service. */
const mostCost = 14;

/** bcrypt reads no further, so that what follows would prove nothing. */
const mostBytes = 72;

const believedMs = 5 * 60_000;

/** Checks that run at once, each on a thread that the disk needs too. */
const running = 2;
/** Checks that may wait, and those of one address: more are turned away at once. */
const mostWaiting = 64;
const mostOfAddress = 4;

const line = /^(?<user>[^:\s#][^:]*):(?<hash>\$2[aby]\$(?<cost>\d\d)\$[./A-Za-z0-9]{53})$/;

/** Says for a user and password whether they belong together. */
export class Passwords {
  readonly #file: WatchedFile<ReadonlyMap<string, string>>;
  /** Compared with for unknown users, so that the time does not tell who is known. */
  readonly #nobody: string;
  readonly #salt = randomBytes(32);
  readonly #right = new LRUCache<string, true>({ max: 1000, ttl: believedMs });
  readonly #wrong = new LRUCache<string, true>({ max: 1000, ttl: believedMs });
  readonly #checks = new Map<string, Promise<boolean>>();
  readonly #turns = new Semaphore(running);
  readonly #byAddress = new Counter();

  private constructor(file: WatchedFile<ReadonlyMap<string, string>>, nobody: string) {
    this.#file = file;
    this.#nobody = nobody;
  }

  /** @throws Error when the file cannot be read, or holds what is no bcrypt hash. */
  static async open(path: string, failed: (path: string, error: unknown) => void): Promise<Passwords> {
    const file = await WatchedFile.open(path, readUsers, failed);
    const cost = Math.max(4, ...[...file.value.values()].map((hash) => Number(hash.slice(4, 6))));
    return new Passwords(file, await bcryptHash(randomBytes(16).toString("hex"), cost));
  }

  /**
   * Is this the password of `user`? The answer is kept for a while, so that a pull of many blobs is one check.
   * @throws RegistryError when so many are being checked, for this address or in all, that this one is not.
   */
  async isRight(user: string, password: string, address: string): Promise<boolean> {
    const hash = this.#file.value.get(user) ?? this.#nobody;
    const proof = createHmac("sha256", this.#salt).update(JSON.stringify([user, password, hash]));
    const key = proof.digest("base64");
    if (this.#right.has(key)) return true;
    if (this.#wrong.has(key) || Buffer.byteLength(password) > mostBytes || password.includes("\0"))
      return false;
    const same = this.#checks.get(key);
    if (same) return same;
    const check = this.#check(password, hash, address).then((fits) => fits && this.#file.value.has(user));
    this.#checks.set(key, check);
    try {
      const isRight = await check;
      (isRight ? this.#right : this.#wrong).set(key, true);
      return isRight;
    } finally {
      this.#checks.delete(key);
    }
  }

  close(): void {
    this.#file.close();
  }

  async #check(password: string, hash: string, address: string): Promise<boolean> {
    if (this.#byAddress.of(address) >= mostOfAddress || this.#turns.waiting >= mostWaiting) {
      const message = "too many passwords are being checked";
      throw new RegistryError("UNAVAILABLE", message, { retryAfter: 1 });
    }
    const leave = this.#byAddress.add(address);
    try {
      return await this.#turns.run(() => compare(password, hash));
    } finally {
      leave();
    }
  }
}

/** Hashes by user. @throws Error that names the line, and nothing that is in it. */
function readUsers(text: string): ReadonlyMap<string, string> {
  const users = new Map<string, string>();
  for (const [index, written] of text.split(/\r?\n/).entries()) {
    if (written === "" || written.startsWith("#")) continue;
    const { user, hash, cost } = line.exec(written)?.groups ?? {};
    if (user === undefined || hash === undefined || Number(cost) > mostCost || Number(cost) < 4) {
      throw new Error(
        `line ${index + 1} is not user:hash with bcrypt of a cost up to ${mostCost} (htpasswd -B)`,
      );
    }
    // The same algorithm by another letter.
    users.set(user, hash.replace("$2y$", "$2b$"));
  }
  return users;
}
