/**
 * How many pulls of a quota are left: calculated from what was sent and what the upstream said, on the ledger's clock.
 *
 *   tokens = min( limit − spent in the sliding window,
 *                 the upstream's last `remaining` − what it cannot have counted by then + what has expired since )
 *
 * Both terms are lower bounds of the truth, for these reasons.
 *
 * Age. The upstream counts a request at some moment between its sending and its answer. A row counts from the answer, so it leaves our
 * window no earlier than the upstream's; in flight it does not age. Ages come from the ledger's clock, which
 * stands still while Hubcap is down ({@link LedgerClock}): no restart and no jump of the wall clock makes a row old.
 *
 * Order. An answer proves only what the upstream had counted when it made that answer, and answers overtake each other.
 * So sends and answers are numbered. An answer supersedes the answers that had arrived before its own request was sent;
 * the others may be newer than it, and of those the smallest `remaining` and the smallest limit count: the last one the
 * upstream made is among them and says no less. A request that ended without `remaining` is deducted until an answer to a
 * later request covers it. What is in flight is always deducted.
 *
 * Return. A pull that an answer covered, and that leaves our window after that answer, comes back to `remaining` by itself,
 * if it was surely still counted then: it was sent less than a window before. Not so after the limit
 * was lowered, until the upstream says that something is left: more may be counted than allowed, and "0 left" hides how
 * much more. After a whole window nothing that the answer counted is left, and the answer is void.
 *
 * Restart. Rows of earlier processes are *carried*: only an upper bound of their age is known. They never come back to
 * `remaining`. But when the upstream says how much is used, no more of them than that can still count: the oldest are
 * dropped.
 *
 * Refusal. Whether a registry counts a request that it answers with 404, 401 or 403 is not known, so it counts. But once an answer
 * covers it, what the upstream says is used includes it if it was counted at all. Of that, what this process has surely spent
 * and what is surely still in the window is known; no more refused requests than the rest can count: the oldest are dropped, so
 * that those that are kept leave last. Not so for requests that were never answered: the upstream may count them yet. For rows that
 * were surely counted nothing is dropped: an upstream that says more than we calculate is believed only when rows expire.
 */

import { ExpiredRows, mergeInto, type CarriedRow, type MutableRow, type WindowRow } from "./windowRows.ts";
import type { Clock } from "../async/clock.ts";

/** What an upstream allows: `limit` pulls in any `windowMs` milliseconds. Without a limit all pulls are allowed. */
export interface Allowance {
  readonly limit: number | undefined;
  readonly windowMs: number;
}

/** What an earlier process wrote of the upstream's last answer. `since` is the first row that it may not cover. */
export interface CarriedAnswer {
  readonly remaining: number;
  readonly since: number;
  readonly settledAt: number;
  readonly expectedAt: number;
}

/**
 * How a request ended: `counted` by the upstream; `refused`, when it may have been counted, but no later than it was answered;
 * `doubtful`, when it may have been or will be; `free`, when it was surely not.
 */
export type Settlement = "counted" | "refused" | "doubtful" | "free";

interface Answer {
  readonly tick: number;
  readonly limit: number;
  readonly remaining: number;
}

/** What the forecast reads. */
export interface WindowView {
  readonly allowance: Allowance;
  /** Settled rows by age, also expired ones as far as the forecast needs them. */
  readonly rows: readonly WindowRow[];
  /** The cost of what is in flight. */
  readonly inFlightCost: number;
  /** See {@link SlidingWindow.setAside}. */
  readonly setAside: number;
  /** What is left by the upstream's last answer; undefined when that is void. */
  readonly remaining: number | undefined;
  /** When it answered; an estimate if an earlier process was answered. */
  readonly observedAt: number;
}

/** How far back the forecast reads at least. */
const hourMs = 60 * 60 * 1000;

/** Rows are kept for a day, the longest window that any registry is known to have, in case a window grows. */
export const keepMs = 24 * 60 * 60 * 1000;

/** One window. Holds no clock: `now` never goes back between calls. */
export class SlidingWindow {
  #allowance: Allowance;
  #tick = 0;
  readonly #inFlight = new Set<MutableRow>();
  #inFlightCost = 0;
  readonly #expired: ExpiredRows;
  /** By `settledAt`; those before `#head` have left the window. Without a limit by the second. */
  #settled: MutableRow[] = [];
  #head = 0;
  #spent = 0;
  readonly #uncovered = new Set<MutableRow>();
  /** The last answers, none of which is surely newer than another. */
  #answers: Answer[] = [];
  /** False when they are void. */
  #hasAnswer = false;
  #lastSentTick = -1;
  #observedAt = 0;
  #expectedAt = 0;
  #returned = 0;
  #isOverdrawn = false;
  #lastId = 0;
  /** Pulls that are neither spent nor free: they are kept for images that were begun. */
  setAside = 0;

  /** Rows that have left the window are kept until they are `keep` milliseconds old. */
  constructor(allowance: Allowance, keep = keepMs) {
    this.#allowance = allowance;
    this.#expired = new ExpiredRows(keep);
  }

  /** Of limits that answers named at the same time, the smallest holds. */
  get allowance(): Allowance {
    return this.#allowance;
  }

  set allowance(allowance: Allowance) {
    const { limit, windowMs } = this.#allowance;
    this.#allowance = allowance;
    if (allowance.limit === undefined) this.#hasAnswer = false;
    if (isLower(allowance.limit, limit)) this.#isOverdrawn = true;
    if (allowance.windowMs === windowMs) return;
    this.#settled = [...this.#expired.takeAll(), ...this.#settled];
    this.#head = 0;
    this.#returned = 0;
    this.#spent = total(this.#settled);
  }

  /** Takes over what earlier processes wrote, oldest first. */
  carry(rows: readonly CarriedRow[], answer?: CarriedAnswer): void {
    for (const row of rows) {
      const covered = answer !== undefined && row.id < answer.since;
      const carried = {
        ...row,
        sentAt: row.settledAt,
        carried: true,
        refused: false,
        tick: 0,
        settledTick: 0,
        covered,
      };
      this.#settled.push(carried);
      this.#spent += row.cost;
      if (!covered) this.#uncovered.add(carried);
      this.#lastId = Math.max(this.#lastId, row.id);
    }
    if (!answer) return;
    const limit = this.#allowance.limit ?? answer.remaining;
    this.#answers = [{ tick: 0, limit, remaining: answer.remaining }];
    this.#hasAnswer = true;
    this.#lastSentTick = 0;
    this.#observedAt = answer.settledAt;
    this.#expectedAt = answer.expectedAt;
  }

  /** Reserves `cost` for a request that is about to be sent. */
  send(cost: number, now: number): WindowRow {
    const tick = ++this.#tick;
    const row: MutableRow = {
      cost,
      tick,
      settledTick: tick,
      sentAt: now,
      expectedAt: now,
      settledAt: now,
      carried: false,
      counted: false,
      refused: false,
      covered: false,
      id: undefined,
    };
    this.#inFlight.add(row);
    this.#inFlightCost += cost;
    return row;
  }

  /** The request has ended. */
  settle(sent: WindowRow, settlement: Settlement, now: number): void {
    const row = sent as MutableRow;
    if (!this.#inFlight.delete(row)) return;
    this.#inFlightCost -= row.cost;
    row.settledTick = ++this.#tick;
    this.#lastId = Math.max(this.#lastId, row.id ?? 0);
    if (settlement === "free" || row.cost === 0) return;
    row.settledAt = row.expectedAt = now;
    row.counted = settlement === "counted";
    row.refused = settlement === "refused";
    this.#spent += row.cost;
    if (this.#allowance.limit === undefined && mergeInto(this.#settled.at(-1), row)) return;
    this.#settled.push(row);
    this.#uncovered.add(row);
  }

  /** The answer to `sent`, settled before, named the limit that holds here and said that `remaining` pulls are left. */
  observe(sent: WindowRow, remaining: number, now: number): void {
    const { limit } = this.#allowance;
    if (limit === undefined) return;
    const row = sent as MutableRow;
    this.#lastSentTick = Math.max(this.#lastSentTick, row.tick);
    this.#answers.push({ tick: ++this.#tick, limit, remaining: Math.min(remaining, limit) });
    this.#answers = this.#answers.filter(({ tick }) => tick > this.#lastSentTick);
    this.#hasAnswer = true;
    this.#observedAt = this.#expectedAt = now;
    this.#returned = 0;
    this.#cover(row);
    for (const other of this.#uncovered) if (other.settledTick < this.#lastSentTick) this.#cover(other);
    this.allowance = { ...this.#allowance, limit: Math.min(...this.#answers.map((answer) => answer.limit)) };
    if (this.#smallest() > 0) this.#isOverdrawn = false;
    this.#advance(now);
    this.#dropUncounted(now);
  }

  /** Pulls that may be sent now, besides those set aside; negative when too many are in flight to be sure, Infinity without a limit. */
  tokens(now: number): number {
    const { limit } = this.#allowance;
    if (limit === undefined) return Number.POSITIVE_INFINITY;
    this.#advance(now);
    const left = Math.min(limit - this.#spent, this.#remaining() ?? Number.POSITIVE_INFINITY);
    return left - this.#inFlightCost - this.setAside;
  }

  /** Pulls that may be left once all in flight is answered: worth waiting for, but not to be sent. */
  expected(now: number): number {
    const { limit } = this.#allowance;
    if (limit === undefined) return Number.POSITIVE_INFINITY;
    this.#advance(now);
    const left = this.#remaining() ?? Number.POSITIVE_INFINITY;
    return Math.min(limit - this.#spent - this.#inFlightCost, left) - this.setAside;
  }

  /** What was spent in the window, what is in flight included. */
  spent(now: number): number {
    this.#advance(now);
    return this.#spent + this.#inFlightCost;
  }

  /** May the upstream's next answer show that it has not counted what it refused? */
  get mayComeBack(): boolean {
    return this.#uncovered.values().some(({ refused }) => refused);
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  view(now: number): WindowView {
    this.#advance(now);
    const since = now - Math.max(2 * this.#allowance.windowMs, hourMs);
    const expired = this.#expired.since(since);
    return {
      allowance: this.#allowance,
      rows: expired.length === 0 ? this.#settled : [...expired, ...this.#settled],
      inFlightCost: this.#inFlightCost,
      setAside: this.setAside,
      remaining: this.#remaining(),
      observedAt: this.#expectedAt,
    };
  }

  /** What to save: the upstream's last answer, and the number of the first row that it may not cover. */
  lastAnswer(now: number): { remaining: number; since: number } | undefined {
    this.#advance(now);
    if (!this.#hasAnswer) return undefined;
    let since = this.#lastId + 1;
    for (const rows of [this.#inFlight, this.#uncovered]) {
      for (const { id } of rows) since = Math.min(since, id ?? since);
    }
    return { remaining: this.#smallest(), since };
  }

  #smallest(): number {
    return Math.min(...this.#answers.map(({ remaining }) => remaining));
  }

  #remaining(): number | undefined {
    return this.#hasAnswer ? this.#smallest() + this.#returned - total(this.#uncovered) : undefined;
  }

  #cover(row: MutableRow): void {
    row.covered = true;
    this.#uncovered.delete(row);
  }

  /** Takes out what has left the window by `now`. */
  #advance(now: number): void {
    const { windowMs } = this.#allowance;
    let row: MutableRow | undefined;
    while ((row = this.#settled[this.#head]) !== undefined && row.settledAt + windowMs < now) {
      this.#head += 1;
      this.#spent -= row.cost;
      this.#uncovered.delete(row);
      const wasCounted =
        row.counted && row.covered && !row.carried && row.sentAt + windowMs > this.#observedAt;
      if (wasCounted && !this.#isOverdrawn) this.#returned += row.cost;
    }
    if (this.#observedAt + windowMs < now) this.#hasAnswer = false;
    this.#moveExpired(now);
  }

  /** Expired rows are moved a thousand at a time, which costs little. */
  #moveExpired(now: number): void {
    if (this.#head < 1000) return;
    this.#expired.add(this.#settled.slice(0, this.#head), now);
    this.#settled = this.#settled.slice(this.#head);
    this.#head = 0;
  }

  /** Of carried and refused rows, no more can count than the upstream says are used and this process has not surely used. */
  #dropUncounted(now: number): void {
    const rows = this.#settled.slice(this.#head);
    if (!rows.some(isInDoubt)) return;
    const since = now - this.#allowance.windowMs;
    let excess = -Math.max(...this.#answers.map(({ limit, remaining }) => limit - remaining));
    for (const row of rows) {
      if (isInDoubt(row) || (row.counted && row.covered && row.sentAt > since)) excess += row.cost;
    }
    const dropped = new Set<MutableRow>();
    for (const row of rows) {
      if (excess <= 0) break;
      if (!isInDoubt(row)) continue;
      const cost = Math.min(excess, row.cost);
      excess -= cost;
      this.#spent -= cost;
      row.cost -= cost;
      if (row.cost > 0) break;
      this.#uncovered.delete(row);
      dropped.add(row);
    }
    if (dropped.size > 0) this.#settled = this.#settled.filter((row) => !dropped.has(row));
  }
}

/** May it be that the upstream does not count it? */
function isInDoubt(row: MutableRow): boolean {
  return row.carried || (row.refused && row.covered);
}

/** Undefined is no limit. */
function isLower(limit: number | undefined, than: number | undefined): boolean {
  return limit !== undefined && (than === undefined || limit < than);
}

function total(rows: Iterable<WindowRow>): number {
  let cost = 0;
  for (const row of rows) cost += row.cost;
  return cost;
}

/**
 * The ledger's own clock. A sliding window needs the age of each row, and the wall clock cannot give it: it may have been set back or forward
 * since, or while Hubcap was down. So rows carry the time of this clock. It starts at the latest time that the ledger has
 * seen, counts on monotonically, and stands still while nothing runs. It can only be behind the world, so a row can only
 * be taken for younger than it is: no restart and no jump frees a pull early. The cost, a window that seems fuller than it
 * is after a long stop, ends with the upstream's next answer.
 */
export class LedgerClock {
  readonly #clock: Pick<Clock, "now" | "elapsed">;
  readonly #start: number;
  readonly #started: number;

  /** `start` is the latest time in the ledger; a new ledger starts with the wall clock's. */
  constructor(clock: Pick<Clock, "now" | "elapsed">, start: number) {
    this.#clock = clock;
    this.#start = start;
    this.#started = clock.elapsed();
  }

  /** Whole milliseconds on the ledger's clock. */
  time(): number {
    return this.#start + Math.floor(this.#clock.elapsed() - this.#started);
  }

  /** The wall clock's time of `time`, as far as it is known. */
  wall(time: number): number {
    return this.#clock.now() + time - this.time();
  }
}
