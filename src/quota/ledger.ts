/** The ledger: what was spent, by which client and for what, written before it is sent. */
import type { Reason } from "./quota.ts";
import type { SavedSetAside } from "./setAsides.ts";

/** How a counted request ended. `sent` until it has; `limited` (a 429) and `released` (never sent) cost nothing. */
export type EntryOutcome = "sent" | "counted" | "absent" | "denied" | "limited" | "failed" | "released";

/** What a spent or refused pull is counted for. */
export interface Spender {
  readonly upstream: string;
  readonly repository: string;
  readonly client: string;
  readonly userAgent: string;
  readonly reason: Reason;
  /** The wall clock's time, for display. */
  readonly at: number;
}

/** A counted request that is about to be sent. */
export interface LedgerEntry extends Spender {
  /** Upstream × account. */
  readonly bucket: string;
  /** The ledger clock's time (LedgerClock), for the sliding window. */
  readonly time: number;
  /** Pulls. */
  readonly cost: number;
  /** Whose share of the limit it counts in. */
  readonly payer: string;
}

/** What the sliding window needs of an entry. `time` is when it was settled. */
export interface SpentRow {
  readonly id: number;
  readonly time: number;
  readonly at: number;
  readonly cost: number;
  readonly outcome: EntryOutcome;
  /** Null where entries are added up, or were written by a version that did not know it. */
  readonly payer: string | null;
}

/** Where what is known of a limit comes from; `none` is a preset. */
export type LearntFrom = "headers" | "token" | "config" | "none";

/** What is saved of a bucket besides its entries. */
export interface SavedBucket {
  /** The ledger clock's time at which this was written. */
  readonly time: number;
  /** The wall clock's, then. */
  readonly at: number;
  /** Undefined: unlimited. */
  readonly limit: number | undefined;
  readonly windowMs: number;
  readonly learntFrom: LearntFrom;
  /** What the upstream last said is left, and the first entry that this may not cover. */
  readonly remaining: number | undefined;
  readonly since: number;
  /** The wall clock's time of the last answer with such headers. */
  readonly observedAt: number | undefined;
  /** The address or account that the upstream says it counts. */
  readonly source: string | undefined;
  /** Until when, by the ledger's clock, a 429 holds back all requests, or pulls. */
  readonly pausedUntil: number | undefined;
  readonly emptyUntil: number | undefined;
  readonly setAsides: readonly SavedSetAside[];
  /** Pulls and bytes that were served without a request to the upstream. */
  readonly savedPulls: number;
  readonly savedBytes: number;
}

export type SpendKey = "client" | "repository" | "userAgent" | "reason";

export interface SpendQuery {
  readonly by: SpendKey;
  readonly upstream?: string;
  /** The wall clock's time. Refusals, and what is older than a day, are known by the whole hour. */
  readonly since: number;
}

export interface SpendRow {
  readonly key: string;
  readonly spent: number;
  readonly refused: number;
  readonly lastAt: number;
}

/** What was spent in the span that begins at `at`, by the wall clock. */
export interface SpendSlice {
  readonly at: number;
  readonly spent: number;
}

export interface SpendCourse {
  readonly upstream: string;
  /** The wall clock's time. What is older than a day is known by the whole hour. */
  readonly since: number;
  /** How long a slice is; each begins at a whole multiple of it. */
  readonly stepMs: number;
}

/** When a bucket was opened first after the ledger had been restored: by the ledger's clock, and by the wall clock. */
export interface Unproven {
  readonly time: number;
  readonly at: number;
}

/** What must outlive the process. Every method may reject when the disk does not take it. */
export interface Ledger {
  /**
   * Writes `entry` down as `sent` and gives its number; numbers only grow. It survives the process from here on, and a
   * power cut as well if it `mustLast`.
   */
  spend(entry: LedgerEntry, mustLast?: boolean): Promise<number>;
  /** Notes how an entry ended, when (the ledger's time), and what it cost in the end. */
  settle(id: number, outcome: Exclude<EntryOutcome, "sent">, time: number, cost: number): Promise<void>;
  /** Settles as `failed`, at `time`, what an earlier process had sent and not settled. */
  recover(bucket: string, time: number): Promise<void>;
  /**
   * Entries that cost something and were settled, or sent, at or after `time`, oldest first. Those before `exact` are
   * added up by the second ({@link addUp}), since a day of an upstream without a limit can be millions.
   */
  rowsSince(bucket: string, time: number, exact?: number): Promise<readonly SpentRow[]>;
  /** The latest time of the ledger's clock that is written down for a bucket. */
  latest(bucket: string): Promise<number | undefined>;
  state(bucket: string): Promise<SavedBucket | undefined>;
  keep(bucket: string, saved: SavedBucket): Promise<void>;
  /** Counts a request that was not sent. */
  refuse(spender: Spender): Promise<void>;
  /** Sums of what was spent and refused, most first, at most a thousand rows. */
  spendBy(query: SpendQuery): Promise<readonly SpendRow[]>;
  /** Sums of what was spent over time, oldest first; slices in which nothing was spent are left out. */
  spendOver(course: SpendCourse): Promise<readonly SpendSlice[]>;
  /** Adds settled entries older than `time` up by the hour, at most a batch of them; gives how many. */
  fold(bucket: string, time: number): Promise<number>;
  /**
   * Is the ledger one that came from a backup, or was made anew in place of a lost one, so that pulls may be missing from it?
   * Then when this bucket was first opened since: now, if this is the first time. Undefined once an operator has confirmed it.
   */
  unproven(bucket: string, time: number, at: number): Promise<Unproven | undefined>;
  /** Drops the sums of hours before `at`, by the wall clock. */
  forget(at: number): Promise<void>;
}

/** `rows`, oldest first, of which all before `exact` that were settled in the same second are one, as young as the youngest. */
export function addUp(rows: Iterable<SpentRow>, exact: number): readonly SpentRow[] {
  const sums: SpentRow[] = [];
  for (const row of rows) {
    const last = sums.at(-1);
    const isSameSecond = last && Math.floor(last.time / 1000) === Math.floor(row.time / 1000);
    if (row.time >= exact || !isSameSecond) {
      sums.push(row.time < exact ? { ...row, payer: null } : row);
      continue;
    }
    const outcome = last.outcome === row.outcome ? row.outcome : "failed";
    const id = Math.max(last.id, row.id);
    const at = Math.max(last.at, row.at);
    sums[sums.length - 1] = { ...row, id, at, outcome, cost: last.cost + row.cost, payer: null };
  }
  return sums;
}
