/** Writes one bucket's books into the ledger, so that a failing disk fails nothing but what must not go unwritten. */
import type { LedgerEntry, Ledger, Outcome, Spender, SavedBucket } from "./ledger.ts";
import { keepMs } from "./slidingWindow.ts";

/** How long sums by the hour are kept. */
const historyMs = 90 * 24 * 60 * 60 * 1000;

export class LedgerWriter {
  readonly #ledger: Ledger;
  readonly #bucket: string;
  readonly #failed: (error: unknown) => void;
  /** What the standing said when it was last written. */
  #written = "";
  #isFolding = false;

  /** `failed` hears of every write that the disk did not take. */
  constructor(ledger: Ledger, bucket: string, failed: (error: unknown) => void) {
    this.#ledger = ledger;
    this.#bucket = bucket;
    this.#failed = failed;
  }

  /** Writes an entry down; undefined when the disk does not take it. */
  async spend(entry: Omit<LedgerEntry, "bucket">, mustLast: boolean): Promise<number | undefined> {
    try {
      return await this.#ledger.spend({ ...entry, bucket: this.#bucket }, mustLast);
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  settle(id: number, outcome: Exclude<Outcome, "sent">, time: number, cost: number): void {
    this.#write(this.#ledger.settle(id, outcome, time, cost));
  }

  refuse(spender: Spender): void {
    this.#write(this.#ledger.refuse(spender));
  }

  /** Writes the standing down, if it says anything new. */
  saveChanged(standing: SavedBucket): void {
    const news = newsOf(standing);
    if (news === this.#written) return;
    this.#written = news;
    this.#write(this.#ledger.keep(this.#bucket, standing));
  }

  /** Writes the standing down in any case: it also says where the ledger's clock stands, and what was saved. */
  async saveNow(standing: SavedBucket): Promise<void> {
    this.#written = newsOf(standing);
    try {
      await this.#ledger.keep(this.#bucket, standing);
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Adds up, by the hour, what no window needs any more, and drops the oldest sums. */
  async fold({ time, at, windowMs }: SavedBucket): Promise<void> {
    // A long history takes longer than the minute after which this is called again.
    if (this.#isFolding) return;
    this.#isFolding = true;
    const old = time - Math.max(keepMs, 2 * windowMs);
    try {
      // Batch by batch, so that nothing else waits for long.
      while ((await this.#ledger.fold(this.#bucket, old)) > 0) await new Promise(setImmediate);
      await this.#ledger.forget(at - historyMs);
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#isFolding = false;
    }
  }

  #write(written: Promise<void>): void {
    written.catch(this.#failed);
  }
}

/** What is worth a write of its own. The times and what was saved are not. */
function newsOf({ limit, windowMs, learntFrom, remaining, since, source }: SavedBucket): string {
  return JSON.stringify([limit, windowMs, learntFrom, remaining, since, source]);
}
