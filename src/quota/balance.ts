/** What one bucket's books allow now, and what is said when nothing may go. Only reads them. */
import type { LedgerClock } from "./clock.ts";
import { freeAt } from "./forecast.ts";
import type { SavedBucket } from "./ledger.ts";
import { type LearntLimits, costOf } from "./limits.ts";
import type { QuotaRequest, QuotaError, Reason, Purpose } from "./quota.ts";
import {
  exhausted,
  paused,
  rehearsed,
  reserved,
  type Moment,
  type BucketName,
  overShare,
} from "./refusal.ts";
import { snapshotOf, type Rehearsal, type Snapshot, type BucketState } from "./snapshot.ts";
import type { Pauses } from "./pauses.ts";
import type { SlidingWindow, Allowance } from "./slidingWindow.ts";
import type { WindowRow } from "./windowRows.ts";

/** One bucket's books. */
export interface BucketBooks {
  readonly clock: LedgerClock;
  readonly window: SlidingWindow;
  /** The rate of requests of any kind. It is short, so it is not persisted. */
  readonly guard: SlidingWindow;
  readonly pauses: Pauses;
  /** What each client has spent. */
  readonly shares: Shares;
  readonly limits: LearntLimits;
  hasAnswered: boolean;
  /** When the upstream last said what is left, on the wall clock. */
  observedAt: number | undefined;
  /** What was served without asking the upstream. */
  readonly saved: { pulls: number; bytes: number };
}

/** What all buckets of an upstream have in common: it counts their requests by address, whoever's account they use. */
export type SharedByAddress = Pick<BucketBooks, "clock" | "guard" | "pauses">;

export interface BalanceOptions extends BucketName {
  /** Shares of the limit, 0 to 1: what only first pulls may touch, and where saving begins. */
  readonly reserve: number;
  readonly low: number;
  /** How long a pull may wait for one to come free. */
  readonly maxWaitMs: number;
}

/** What may be spent of a bucket. Times and durations are in ms. */
export class Balance {
  readonly #options: BalanceOptions;
  readonly #books: BucketBooks;

  constructor(options: BalanceOptions, books: BucketBooks) {
    this.#options = options;
    this.#books = books;
  }

  get owner(): BucketName {
    return this.#options;
  }

  get state(): BucketState {
    const { window: reckoning, pauses: stops, hasAnswered } = this.#books;
    const now = this.#now;
    if (stops.emptyUntil(now)) return "exhausted";
    if (reckoning.allowance.limit === undefined) return hasAnswered ? "unlimited" : "unknown";
    const left = reckoning.expected(now);
    if (left <= 0) return "exhausted";
    if (left <= this.#share("reserve")) return "reserve";
    return left <= this.#share("low") ? "low" : "ok";
  }

  get rehearsal(): Rehearsal | undefined {
    const { pauses: stops, clock } = this.#books;
    const rehearsal = stops.rehearsal(this.#now);
    return rehearsal && { mode: rehearsal.mode, until: clock.wall(rehearsal.until) };
  }

  /** Pulls that may be sent now: what the line's reservoir is set to. */
  get tokens(): number {
    const { pauses: stops, window: reckoning } = this.#books;
    const now = this.#now;
    return stops.emptyUntil(now) ? 0 : reckoning.tokens(now);
  }

  /** Requests of any kind that may be sent now. */
  get guardTokens(): number {
    return this.#books.guard.tokens(this.#now);
  }

  /** Milliseconds until a pull comes free; undefined when that is not known. */
  get pullFreeInMs(): number | undefined {
    const now = this.#now;
    const free = this.pullsFreeAt(now, 1);
    return free === undefined ? undefined : free - now;
  }

  /** Milliseconds until the guard lets another request through. */
  get requestFreeInMs(): number | undefined {
    const now = this.#now;
    const free = freeAt(this.#books.guard.view(now), now, 1);
    return free === undefined ? undefined : free - now;
  }

  /** Why nothing at all may be sent; undefined when that is not so. */
  get stop(): QuotaError | undefined {
    const { pauses: stops } = this.#books;
    const now = this.#now;
    const rehearsal = stops.rehearsal(now);
    if (rehearsal?.mode === "down") return rehearsed(this.#options, this.#moment(rehearsal.until));
    const pausedUntil = stops.pausedUntil(now);
    return pausedUntil === undefined ? undefined : paused(this.#options, this.#moment(pausedUntil));
  }

  /** Whether `errand` may go now, may be able to go soon, or will not go. */
  verdict({ kind, purpose }: QuotaRequest): "go" | "wait" | QuotaError {
    const { stop } = this;
    if (stop) return stop;
    const cost = costOf(kind);
    if (cost === 0) return "go";
    const { window: reckoning, pauses: stops, shares } = this.#books;
    const owner = this.#options;
    const now = this.#now;
    const { allowance } = reckoning;
    const over = shares.refusal(purpose, allowance, now, (time) => this.#moment(time));
    if (over) return over;
    const floor = this.floor(purpose.reason);
    if (this.tokens - floor >= cost) return "go";
    const free = this.pullsFreeAt(now, floor + cost);
    const moment = this.#moment(free ?? now + allowance.windowMs);
    if (floor > 0) return reserved(owner, this.tokens, allowance, moment);
    const isHoped = !stops.emptyUntil(now) && reckoning.expected(now) >= cost;
    const isSoon = free !== undefined && free > now && free - now <= owner.maxWaitMs;
    return isHoped || isSoon ? "wait" : exhausted(owner, allowance, moment);
  }

  /** What `reason` must leave: warming stops where saving begins, revalidation at the reserve. */
  floor(reason: Reason): number {
    if (this.#books.window.allowance.limit === undefined || reason === "pull") return 0;
    return this.#share(reason === "warm" ? "low" : "reserve");
  }

  /** When `needed` pulls will be left, on the ledger's clock; undefined when that is not known. */
  pullsFreeAt(now: number, needed: number): number | undefined {
    const { window: reckoning, pauses: stops } = this.#books;
    const free = freeAt(reckoning.view(now), now, needed);
    return free === undefined ? undefined : Math.max(free, stops.emptyUntil(now) ?? free);
  }

  /** The books as the status API shows them. */
  snapshot(waiting: number): Snapshot {
    const { upstream, account } = this.#options;
    const { clock, window: reckoning, guard, limits: lessons, observedAt, saved } = this.#books;
    const now = this.#now;
    const hoped = this.state === "exhausted" ? 0 : Math.max(0, reckoning.expected(now));
    const left = Number.isFinite(hoped) ? hoped : undefined;
    const facts = {
      name: upstream,
      account: account ?? "anonymous",
      source: lessons.source,
      state: this.state,
      left,
      reserve: this.#share("reserve"),
      spent: reckoning.spent(now),
      inFlight: guard.inFlight,
      waiting,
      nextFreeAt: this.pullsFreeAt(now, (left ?? 0) + 1),
      learntFrom: lessons.from,
      observedAt,
      saved: { ...saved },
      rehearsal: this.rehearsal,
    };
    return snapshotOf(facts, reckoning.view(now), clock);
  }

  /** The books as the ledger keeps them for the next process; `at` is the wall clock's time. */
  saved(at: number): SavedBucket {
    const { window: reckoning, limits: lessons, observedAt, saved, pauses: stops } = this.#books;
    const time = this.#now;
    const word = reckoning.lastAnswer(time);
    const { limit, windowMs } = reckoning.allowance;
    return {
      time,
      at,
      limit,
      windowMs,
      learntFrom: lessons.from,
      remaining: word?.remaining,
      since: word?.since ?? 0,
      observedAt,
      source: lessons.source,
      savedPulls: saved.pulls,
      savedBytes: saved.bytes,
      ...stops.saved(time),
    };
  }

  get #now(): number {
    return this.#books.clock.time();
  }

  #share(of: "reserve" | "low"): number {
    return Math.ceil((this.#books.window.allowance.limit ?? 0) * this.#options[of]);
  }

  #moment(time: number): Moment {
    return { at: this.#books.clock.wall(time), inMs: time - this.#now };
  }
}

/** How many clients are remembered; each has spent a pull, so a limit bounds them too. */
const capacity = 10_000;

export class Shares {
  readonly #owner: BucketName;
  readonly #share: number | undefined;
  /** Each client's pulls, oldest first. */
  readonly #spent = new Map<string, Pick<WindowRow, "sentAt">[]>();

  /** `share` is of the limit, 0 to 1; without it, nothing is counted and nobody refused. */
  constructor(owner: BucketName, share: number | undefined) {
    this.#owner = owner;
    this.#share = share;
  }

  /** Takes over what clients spent under earlier processes, oldest first. */
  carry(rows: readonly { readonly client: string | null; readonly settledAt: number }[]): void {
    for (const { client, settledAt } of rows) {
      if (client !== null) this.#add(client, { sentAt: settledAt });
    }
  }

  /** Counts what an errand costs, and gives it back. */
  add({ purpose: { client } }: QuotaRequest, row: WindowRow): WindowRow {
    if (row.cost > 0) this.#add(client, row);
    return row;
  }

  /** Takes back one that was not counted after all. */
  remove(client: string, row: WindowRow): void {
    const rows = this.#spent.get(client);
    const at = rows?.indexOf(row) ?? -1;
    if (at < 0) return;
    rows?.splice(at, 1);
    if (rows?.length === 0) this.#spent.delete(client);
  }

  /** Why this client may not spend now, if it has had its share. What is warmed is nobody's. */
  refusal(
    { reason, client }: Purpose,
    { limit, windowMs }: Allowance,
    now: number,
    moment: (time: number) => Moment,
  ): QuotaError | undefined {
    const rows = this.#spent.get(client);
    if (this.#share === undefined || limit === undefined || reason === "warm" || !rows) return undefined;
    const first = rows.findIndex(({ sentAt }) => sentAt > now - windowMs);
    rows.splice(0, first < 0 ? rows.length : first);
    const most = Math.max(1, Math.floor(limit * this.#share));
    const oldest = rows.at(-most);
    if (!oldest) return undefined;
    const free = moment(oldest.sentAt + windowMs);
    return overShare(this.#owner, client.slice(0, 200), most, { limit, windowMs }, free);
  }

  #add(client: string, row: Pick<WindowRow, "sentAt">): void {
    if (this.#share === undefined) return;
    this.#spent.getOrInsertComputed(client, () => []).push(row);
    if (this.#spent.size <= capacity) return;
    const oldest = this.#spent.keys().next();
    if (!oldest.done) this.#spent.delete(oldest.value);
  }
}
