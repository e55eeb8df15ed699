/** When images were used last: noted in memory on every hit, and written to the catalog now and then. A crash loses the last seconds. */
import type { Digest } from "../../oci/digest.ts";
import { formatImage, type Repository } from "../../oci/reference.ts";
import type { Inventory, Use } from "../catalog.ts";

/** How many uses one transaction writes at most. */
const perTransaction = 250;

export class LastUses {
  readonly #inventory: Pick<Inventory, "use">;
  readonly #now: () => number;
  /** What is not written yet. */
  readonly #noted = new Map<string, Use>();
  /** Settles when the last flush is over: two at a time would count uses twice. */
  #flushed: Promise<void> = Promise.resolve();

  constructor(inventory: Pick<Inventory, "use">, now: () => number) {
    this.#inventory = inventory;
    this.#now = now;
  }

  /** A held image was asked for, so many times. */
  note(repository: Repository, digest: Digest, times = 1): void {
    const key = formatImage(repository, digest);
    const count = (this.#noted.get(key)?.count ?? 0) + times;
    this.#noted.set(key, { repository, digest, at: this.#now(), count });
  }

  /** Has it been used since the catalog's last use was written? */
  isNoted(repository: Repository, digest: Digest): boolean {
    return this.#noted.has(formatImage(repository, digest));
  }

  /** Writes what was noted before. What the catalog does not take is kept for the next time. */
  flush(): Promise<void> {
    const flushed = this.#flushed.then(() => this.#flush());
    this.#flushed = flushed.catch(() => {});
    return flushed;
  }

  async #flush(): Promise<void> {
    const uses = [...this.#noted];
    for (let at = 0; at < uses.length;) {
      const batch = uses.slice(at, at + perTransaction);
      const written = await this.#inventory.use(
        batch.map(([, use]) => use),
        this.#now(),
      );
      for (const [key, use] of batch.slice(0, written)) {
        const newer = this.#noted.get(key);
        if (newer === use) this.#noted.delete(key);
        else if (newer) this.#noted.set(key, { ...newer, count: newer.count - use.count });
      }
      at += written;
      await new Promise(setImmediate);
    }
  }
}
