/** Users of an htpasswd file, whose passwords are bcrypt hashes and nothing else. */
import { createHmac, randomBytes } from "node:crypto";
import { compare, hash as bcryptHash } from "bcrypt";
import { LRUCache } from "lru-cache";
import { Semaphore } from "../async/concurrency.ts";
import { RegistryError } from "../oci/error.ts";
import { Counter } from "./limits.ts";
import { WatchedFile, type WatchedFileOptions } from "./watchedFile.ts";

/** What a check may cost: more, and a handful of wrong passwords would be a denial of service. */
const mostCost = 14;

/** bcrypt ignores what follows, so that it would prove nothing. */
const mostBytes = 72;

/** How long a result is remembered, in ms. */
const rememberedMs = 5 * 60_000;

/** Checks that run at once, each on a thread that the disk needs too. */
const running = 2;

/** Checks that may wait, in all and for one address: more are refused at once. */
const mostWaiting = 64;
const mostOfAddress = 4;

const line = /^(?<user>[^:\s#][^:]*):(?<hash>\$2[aby]\$(?<cost>\d\d)\$[./A-Za-z0-9]{53})$/;

/** The passwords of the users of one file. */
export class Passwords {
  readonly #file: WatchedFile<ReadonlyMap<string, string>>;
  /** Compared with for unknown users, so that the time does not tell which users exist. */
  readonly #unknown: string;
  readonly #salt = randomBytes(32);
  readonly #right = new LRUCache<string, true>({ max: 1000, ttl: rememberedMs });
  readonly #wrong = new LRUCache<string, true>({ max: 1000, ttl: rememberedMs });
  readonly #checks = new Map<string, Promise<boolean>>();
  readonly #semaphore = new Semaphore(running);
  readonly #byAddress = new Counter();

  private constructor(file: WatchedFile<ReadonlyMap<string, string>>, unknown: string) {
    this.#file = file;
    this.#unknown = unknown;
  }

  /** @throws Error when the file cannot be read, or holds anything but bcrypt hashes. */
  static async open(path: string, options: WatchedFileOptions): Promise<Passwords> {
    const file = await WatchedFile.open(path, readUsers, options);
    const cost = Math.max(4, ...[...file.value.values()].map((hash) => Number(hash.slice(4, 6))));
    return new Passwords(file, await bcryptHash(randomBytes(16).toString("hex"), cost));
  }

  /**
   * Is this the password of `user`? The result is remembered for a while, so that a pull of many blobs is one check.
   * @throws RegistryError when too many are being checked already, for this address or in all.
   */
  async isRight(user: string, password: string, address: string): Promise<boolean> {
    const hash = this.#file.value.get(user) ?? this.#unknown;
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
    if (this.#byAddress.of(address) >= mostOfAddress || this.#semaphore.waiting >= mostWaiting) {
      const message = "too many passwords are being checked";
      throw new RegistryError("UNAVAILABLE", message, { retryAfter: 1, reason: "client-limit" });
    }
    const remove = this.#byAddress.add(address);
    try {
      return await this.#semaphore.run(() => compare(password, hash));
    } finally {
      remove();
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
