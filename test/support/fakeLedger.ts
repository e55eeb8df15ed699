/** A ledger in memory, for tests of what writes into it. */
import {
  addUp,
  type LedgerEntry,
  type Ledger,
  type EntryOutcome,
  type SpendCourse,
  type SpendKey,
  type SpendQuery,
  type SpendRow,
  type SpendSlice,
  type Spender,
  type SpentRow,
  type SavedBucket,
  type Unproven,
} from "../../src/quota/ledger.ts";

const hourMs = 60 * 60 * 1000;

interface Sum extends Spender {
  readonly spent: number;
  readonly refused: number;
}

type Written = LedgerEntry & { id: number; outcome: EntryOutcome };

export class FakeLedger implements Ledger {
  /** Everything written and not folded, in the order of writing. */
  readonly entries: Written[] = [];
  /** The numbers of the entries that must survive a power cut. */
  readonly lasting = new Set<number>();
  /** Set to make every write reject with it, as a full disk does. */
  failure: Error | undefined;
  /** Set for a ledger that came from a backup. */
  isRestored = false;
  #unproven: Unproven | undefined;
  readonly #states = new Map<string, SavedBucket>();
  #sums: Sum[] = [];
  #lastId = 0;

  async spend(entry: LedgerEntry, mustLast = false): Promise<number> {
    this.#write();
    this.#lastId += 1;
    if (mustLast) this.lasting.add(this.#lastId);
    this.entries.push({ ...entry, id: this.#lastId, outcome: "sent" });
    return this.#lastId;
  }

  async settle(
    id: number,
    outcome: Exclude<EntryOutcome, "sent">,
    time: number,
    cost: number,
  ): Promise<void> {
    this.#write();
    this.#change(
      (entry) => entry.id === id,
      (entry) => ({ ...entry, outcome, time, cost }),
    );
  }

  async recover(bucket: string, time: number): Promise<void> {
    this.#write();
    this.#change(
      (entry) => entry.bucket === bucket && entry.outcome === "sent",
      (entry) => ({ ...entry, outcome: "failed", time }),
    );
  }

  async rowsSince(bucket: string, time: number, exact = time): Promise<readonly SpentRow[]> {
    const rows = this.entries
      .filter((entry) => entry.bucket === bucket && entry.time >= time && entry.cost > 0)
      .map(({ id, time, at, cost, outcome, payer }) => ({ id, time, at, cost, outcome, payer }))
      .toSorted((one, other) => one.time - other.time || one.id - other.id);
    return addUp(rows, exact);
  }

  async latest(bucket: string): Promise<number | undefined> {
    const times = this.entries.filter((entry) => entry.bucket === bucket).map(({ time }) => time);
    const state = this.#states.get(bucket);
    if (state) times.push(state.time);
    return times.length === 0 ? undefined : Math.max(...times);
  }

  async state(bucket: string): Promise<SavedBucket | undefined> {
    return this.#states.get(bucket);
  }

  async keep(bucket: string, state: SavedBucket): Promise<void> {
    this.#write();
    this.#states.set(bucket, state);
  }

  async refuse(spender: Spender): Promise<void> {
    this.#write();
    this.#sums.push({ ...spender, spent: 0, refused: 1 });
  }

  async spendBy({ by, upstream, since }: SpendQuery): Promise<readonly SpendRow[]> {
    const detailed = this.entries
      .filter(({ at, cost }) => at >= since && cost > 0)
      .map((entry): Sum => ({ ...entry, spent: entry.cost, refused: 0 }));
    const folded = this.#sums.filter(({ at }) => hourOf(at) >= hourOf(since));
    const rows = new Map<string, SpendRow>();
    for (const sum of [...detailed, ...folded]) {
      if (upstream !== undefined && sum.upstream !== upstream) continue;
      const key = keyOf(sum, by);
      const { spent = 0, refused = 0, lastAt = 0 } = rows.get(key) ?? {};
      rows.set(key, {
        key,
        spent: spent + sum.spent,
        refused: refused + sum.refused,
        lastAt: Math.max(lastAt, sum.at),
      });
    }
    return [...rows.values()].toSorted(
      (one, other) =>
        other.spent - one.spent || other.refused - one.refused || (one.key < other.key ? -1 : 1),
    );
  }

  async spendOver({ upstream, since, stepMs }: SpendCourse): Promise<readonly SpendSlice[]> {
    const detailed = this.entries
      .filter(({ at }) => at >= since)
      .map(({ cost, ...rest }) => ({ ...rest, spent: cost }));
    const folded = this.#sums
      .map((sum) => ({ ...sum, at: hourOf(sum.at) }))
      .filter(({ at }) => at >= hourOf(since));
    const slices = new Map<number, number>();
    for (const { at, spent, ...sum } of [...detailed, ...folded].toSorted(
      (one, other) => one.at - other.at,
    )) {
      if (sum.upstream !== upstream || spent === 0) continue;
      const start = Math.floor(at / stepMs) * stepMs;
      slices.set(start, (slices.get(start) ?? 0) + spent);
    }
    return [...slices].map(([at, spent]) => ({ at, spent }));
  }

  async fold(bucket: string, time: number): Promise<number> {
    this.#write();
    const old = this.entries.filter(
      (entry) => entry.bucket === bucket && entry.time < time && entry.outcome !== "sent",
    );
    for (const entry of old) {
      if (entry.cost > 0) this.#sums.push({ ...entry, spent: entry.cost, refused: 0 });
      this.entries.splice(this.entries.indexOf(entry), 1);
    }
    return old.length;
  }

  async forget(at: number): Promise<void> {
    this.#write();
    this.#sums = this.#sums.filter((sum) => hourOf(sum.at) >= at);
  }

  async unproven(_bucket: string, time: number, at: number): Promise<Unproven | undefined> {
    return this.isRestored ? (this.#unproven ??= { time, at }) : undefined;
  }

  #write(): void {
    if (this.failure) throw this.failure;
  }

  #change(which: (entry: Written) => boolean, how: (entry: Written) => Written): void {
    for (const [index, entry] of this.entries.entries()) {
      if (which(entry)) this.entries[index] = how(entry);
    }
  }
}

function hourOf(at: number): number {
  return Math.floor(at / hourMs) * hourMs;
}

function keyOf(spender: Spender, by: SpendKey): string {
  return by === "repository" ? `${spender.upstream}/${spender.repository}` : spender[by];
}
