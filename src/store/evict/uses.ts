/** Use counts: noted in memory on every hit, and written to the catalog now and then. A crash loses the last few seconds. */
import type { Digest } from "../../oci/digest.ts";
import { formatRepository, type Repository } from "../../oci/reference.ts";
import type { Inventory, Use } from "../catalog.ts";

/** How many uses one transaction writes at most. */
const perTransaction = 250;

export class LastUses {
  readonly #inventory: Pick<Inventory, "use">;
  readonly #now: () => number;
  #noted = new Map<string, Use>();

  constructor(inventory: Pick<Inventory, "use">, now: () => number) {
    this.#inventory = inventory;
    this.#now = now;
  }

  /** An image that is held was asked for, so many times. */
  note(repository: Repository, digest: Digest, times = 1): void {
    const key = `${formatRepository(repository)}@${digest}`;
    const count = (this.#noted.get(key)?.count ?? 0) + times;
    this.#noted.set(key, { repository, digest, at: this.#now(), count });
  }

  /** Writes what was noted. What the catalog does not take is kept for the next time. */
  async flush(): Promise<void> {
    const noted = this.#noted;
    this.#noted = new Map();
    const entries = [...noted];
    for (let at = 0; at < entries.length;) {
      const batch = entries.slice(at, at + perTransaction);
      try {
        const uses = batch.map(([, use]) => use);
        at += await this.#inventory.use(uses, this.#now());
      } catch (error) {
        for (const [key, use] of entries.slice(at)) {
          const newer = this.#noted.get(key);
          this.#noted.set(key, newer ? { ...newer, count: newer.count + use.count } : use);
        }
        throw error;
      }
      await new Promise(setImmediate);
    }
  }
}
