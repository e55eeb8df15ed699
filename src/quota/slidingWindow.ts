/**
 * What is left of a quota: the pure reckoning over what was sent and what the upstream said, on the ledger's clock.
 *
 *   tokens = min( limit − spent in the rolling window,
 *                 the upstream's last `remaining` − what it cannot have counted by then + what has left since )
 *
 * Both terms are lower bounds of the truth, for these reasons.
 *
 * Age. A request is counted somewhere between sending it and its answer. A row counts from the answer, so it leaves our
 * window no earlier than the upstream's; in flight it does not age at all. Ages come from the ledger's clock, which
 * stands still while Hubcap is down (clock.ts): no restart and no jump makes a row old.
 *
 * Order. An answer proves only what the upstream had counted when it made that answer, and answers overtake each other.
 * So sends and answers are numbered. An answer supersedes the answers that had arrived before its own request was sent;
 * the others may be newer than it, and of those the smallest `remaining` and the smallest limit count: the last one the
 * upstream made is among them and says no less. A request that ended without a word about `remaining` is deducted until an answer to a later
 * request covers it. What is in flight is always deducted.
 *
 * Return. A pull that an answer covered, and that leaves our window after that answer, comes back to `remaining` without
 * being asked for, if it was surely still counted then: it was sent less than a window before. Not so after the limit
 * was lowered, until the upstream says that something is left: more may be counted than allowed, and "0 left" hides how
 * much more. After a whole window nothing of what the answer counted is left, and the answer says nothing more.
 *
 * Restart. Rows of earlier processes are *carried*: their age is not known but from above. They never come back to
 * `remaining`. But when the upstream says how much is used, no more of them than that can still count: the oldest are
 * dropped. For rows of this process that is not done, since their age is known: an upstream that says more than we
 * reckon is believed only when rows leave.
 */

import { ExpiredRows, mergeInto, type MutableRow, type WindowRow } from "./windowRows.ts";

/** What an upstream allows: `limit` pulls in any `windowMs` milliseconds. Without a limit everything goes. */
export interface Allowance {
  readonly limit: number | undefined;
  readonly windowMs: number;
}

/** What an earlier process wrote of the upstream's last word. `since` is the first row that it may not cover. */
export interface CarriedAnswer {
  readonly remaining: number;
  readonly since: number;
  readonly settledAt: number;
  readonly expectedAt: number;
}

/** What an earlier process wrote of a row. */
export interface CarriedRow {
  readonly id: number;
  readonly cost: number;
  readonly settledAt: number;
  readonly expectedAt: number;
  readonly counted: boolean;
}

/**
 * How a request ended: `counted` by the upstream; `doubtful`, when it may have been; `free`, when it was surely not.
 */
export type Settlement = "counted" | "doubtful" | "free";

interface Answer {
  readonly tick: number;
  readonly limit: number;
  readonly remaining: number;
}

/** What the forecast looks at. */
export interface WindowView {
  readonly allowance: Allowance;
  /** Settled rows by age, also those that have left the window, as far as they say anything about what will be left. */
  readonly rows: readonly WindowRow[];
  /** The cost of what is in flight. */
  readonly flying: number;
  /** What the upstream said last, as it stands; undefined when that says nothing any more. */
  readonly remaining: number | undefined;
  /** When it said so; for the word of an earlier process an estimate. */
  readonly observedAt: number;
}

/** How far the forecast looks back at least. */
const hourMs = 60 * 60 * 1000;

/** Rows are kept for a day, the longest window that any registry is known to have, in case a window turns out longer. */
export const keepMs = 24 * 60 * 60 * 1000;

/** One window. Holds no clock: `now` never goes back between calls. */
export class SlidingWindow {
  #allowance: Allowance;
  #tick = 0;
  readonly #inFlight = new Set<MutableRow>();
  #flying = 0;
  readonly #past: ExpiredRows;
  /** By `settledAt`; those before `#head` have left the window. Without a limit by the second. */
  #settled: MutableRow[] = [];
  #head = 0;
  #spent = 0;
  readonly #uncovered = new Set<MutableRow>();
  /** The last answers, none of which is surely newer than another. */
  #answers: Answer[] = [];
  /** Whether they still say anything about what is left. */
  #hasWord = false;
  #lastSentTick = -1;
  #observedAt = 0;
  #expectedAt = 0;
  #returned = 0;
  #isOverdrawn = false;
  #lastId = 0;

  /** Rows that have left the window are kept until they are `keep` milliseconds old. */
  constructor(allowance: Allowance, keep = keepMs) {
    this.#allowance = allowance;
    this.#past = new ExpiredRows(keep);
  }

  /** What holds: of limits that answers named at the same time, the smallest. */
  get allowance(): Allowance {
    return this.#allowance;
  }

  set allowance(allowance: Allowance) {
    const { limit, windowMs } = this.#allowance;
    this.#allowance = allowance;
    if (allowance.limit === undefined) this.#hasWord = false;
    if (isLower(allowance.limit, limit)) this.#isOverdrawn = true;
    if (allowance.windowMs === windowMs) return;
    this.#settled = [...this.#past.takeAll(), ...this.#settled];
    this.#head = 0;
    this.#returned = 0;
    this.#spent = total(this.#settled);
  }

  /** Takes over what earlier processes wrote, oldest first. */
  carry(rows: readonly CarriedRow[], word?: CarriedAnswer): void {
    for (const row of rows) {
      const covered = word !== undefined && row.id < word.since;
      const carried = { ...row, sentAt: row.settledAt, carried: true, tick: 0, settledTick: 0, covered };
      this.#settled.push(carried);
      this.#spent += row.cost;
      if (!covered) this.#uncovered.add(carried);
      this.#lastId = Math.max(this.#lastId, row.id);
    }
    if (!word) return;
    const limit = this.#allowance.limit ?? word.remaining;
    this.#answers = [{ tick: 0, limit, remaining: word.remaining }];
    this.#hasWord = true;
    this.#lastSentTick = 0;
    this.#observedAt = word.settledAt;
    this.#expectedAt = word.expectedAt;
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
      covered: false,
      id: undefined,
    };
    this.#inFlight.add(row);
    this.#flying += cost;
    return row;
  }

  /** The request has ended. */
  settle(sent: WindowRow, fate: Settlement, now: number): void {
    const row = sent as MutableRow;
    if (!this.#inFlight.delete(row)) return;
    this.#flying -= row.cost;
    row.settledTick = ++this.#tick;
    this.#lastId = Math.max(this.#lastId, row.id ?? 0);
    if (fate === "free" || row.cost === 0) return;
    row.settledAt = row.expectedAt = now;
    row.counted = fate === "counted";
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
    this.#hasWord = true;
    this.#observedAt = this.#expectedAt = now;
    this.#returned = 0;
    this.#cover(row);
    for (const other of this.#uncovered) if (other.settledTick < this.#lastSentTick) this.#cover(other);
    this.allowance = { ...this.#allowance, limit: Math.min(...this.#answers.map((answer) => answer.limit)) };
    if (this.#smallest() > 0) this.#isOverdrawn = false;
    this.#advance(now);
    this.#dropCarried(now);
  }

  /** Pulls that may be sent now; negative when too many are in flight to be sure, Infinity without a limit. */
  tokens(now: number): number {
    const { limit } = this.#allowance;
    if (limit === undefined) return Number.POSITIVE_INFINITY;
    this.#advance(now);
    return Math.min(limit - this.#spent, this.#told() ?? Number.POSITIVE_INFINITY) - this.#flying;
  }

  /** Pulls that may be left once what is in flight has been answered: worth waiting for, not worth relying on. */
  expected(now: number): number {
    const { limit } = this.#allowance;
    if (limit === undefined) return Number.POSITIVE_INFINITY;
    this.#advance(now);
    return Math.min(limit - this.#spent - this.#flying, this.#told() ?? Number.POSITIVE_INFINITY);
  }

  /** What was spent in the window, what is in flight included. */
  spent(now: number): number {
    this.#advance(now);
    return this.#spent + this.#flying;
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  view(now: number): WindowView {
    this.#advance(now);
    const since = now - Math.max(2 * this.#allowance.windowMs, hourMs);
    const past = this.#past.since(since);
    return {
      allowance: this.#allowance,
      rows: past.length === 0 ? this.#settled : [...past, ...this.#settled],
      flying: this.#flying,
      remaining: this.#told(),
      observedAt: this.#expectedAt,
    };
  }

  /** What to persist: the upstream's last word, and the first row's number that it may not cover. */
  lastAnswer(now: number): { remaining: number; since: number } | undefined {
    this.#advance(now);
    if (!this.#hasWord) return undefined;
    let since = this.#lastId + 1;
    for (const rows of [this.#inFlight, this.#uncovered]) {
      for (const { id } of rows) since = Math.min(since, id ?? since);
    }
    return { remaining: this.#smallest(), since };
  }

  #smallest(): number {
    return Math.min(...this.#answers.map(({ remaining }) => remaining));
  }

  #told(): number | undefined {
    return this.#hasWord ? this.#smallest() + this.#returned - total(this.#uncovered) : undefined;
  }

  #cover(row: MutableRow): void {
    row.covered = true;
    this.#uncovered.delete(row);
  }

  /** Lets go of what has left the window by `now`. */
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
    if (this.#observedAt + windowMs < now) this.#hasWord = false;
    this.#forget(now);
  }

  /** Rows that have left the window are put away a thousand at a time, so that it costs little. */
  #forget(now: number): void {
    if (this.#head < 1000) return;
    this.#past.add(this.#settled.slice(0, this.#head), now);
    this.#settled = this.#settled.slice(this.#head);
    this.#head = 0;
  }

  /** Of the rows whose age is not known, no more can count than are used and not surely by this process's. */
  #dropCarried(now: number): void {
    // They are older than all others.
    if (!this.#settled[this.#head]?.carried) return;
    const since = now - this.#allowance.windowMs;
    let excess = -Math.max(...this.#answers.map(({ limit, remaining }) => limit - remaining));
    for (const row of this.#settled.slice(this.#head)) {
      if (row.carried || (row.counted && row.covered && row.sentAt > since)) excess += row.cost;
    }
    const dropped = new Set<MutableRow>();
    for (const row of this.#settled.slice(this.#head)) {
      if (!row.carried || excess <= 0) break;
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

/** Undefined is no limit. */
function isLower(limit: number | undefined, than: number | undefined): boolean {
  return limit !== undefined && (than === undefined || limit < than);
}

function total(rows: Iterable<WindowRow>): number {
  let cost = 0;
  for (const row of rows) cost += row.cost;
  return cost;
}
