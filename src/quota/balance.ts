/** What one bucket has spent and may still spend, in memory. The ledger is account.ts's concern. */
import { SlidingWindow, type Allowance, type LedgerClock } from "./slidingWindow.ts";
import { freeAt } from "./forecast.ts";
import type { SavedBucket } from "./ledger.ts";
import { LearntLimits, clientsPerHolder, costOf, holderOf, type KnownLimits, type Quota } from "./limits.ts";
import type { Purpose, QuotaError, QuotaRequest, Reason } from "./quota.ts";
import {
  exhausted,
  limited,
  overShare,
  paused,
  rehearsed,
  reserved,
  type BucketName,
  type Moment,
} from "./refusal.ts";
import type { Restored, SavedPauses } from "./restore.ts";
import { SetAsides } from "./setAsides.ts";
import {
  snapshotOf,
  type BucketState,
  type Rehearsal,
  type Snapshot,
  type RehearsalMode,
} from "./snapshot.ts";
import type { CarriedRow, WindowRow } from "./windowRows.ts";

export interface BalanceOptions extends BucketName {
  readonly preset: KnownLimits;
  /** The configured limit, used until the upstream names one. */
  readonly quota: Quota | undefined;
  /** Shares of the limit, 0 to 1: what is kept for first pulls, and below which the state is `low`. */
  readonly reserve: number;
  readonly low: number;
  /** The share of the limit that one client may spend in a window; without it, all of it. */
  readonly perClient?: number;
  /** How long a pull may wait for one to come free. */
  readonly maxWaitMs: number;
  /** Of another bucket of the same upstream. */
  readonly shared?: SharedByAddress;
}

/** What all buckets of an upstream share: it counts requests of any kind by address, whatever account they use. */
export type SharedByAddress = Pick<Balance, "clock" | "guard" | "pauses">;

/** Times and durations are in ms; times are the ledger clock's, unless they are said to be the wall clock's. */
export class Balance {
  readonly clock: LedgerClock;
  /** Pulls. */
  readonly window: SlidingWindow;
  /** Requests of any kind. Its window is short, so it is not persisted. */
  readonly guard: SlidingWindow;
  readonly pauses: Pauses;
  readonly shares: ClientShares;
  readonly setAsides: SetAsides;
  readonly limits: LearntLimits;
  hasAnswered: boolean;
  /** When the upstream last said how many pulls are left, by the wall clock. */
  observedAt: number | undefined;
  /** What was served without a request to the upstream. */
  readonly saved: { pulls: number; bytes: number };
  readonly #options: BalanceOptions;

  /** Starts where the last process ended. */
  constructor(options: BalanceOptions, restored: Restored) {
    const { preset, account, shared } = options;
    const { saved, rows } = restored;
    this.#options = options;
    this.clock = shared?.clock ?? restored.clock;
    const known = { configured: options.quota, preset: preset.quota, hasAccount: account !== undefined };
    this.limits = new LearntLimits(known, saved, this.clock.time());
    this.window = new SlidingWindow(this.limits.allowance);
    const all = [...rows, ...missingPulls(restored, this.limits.allowance)];
    this.window.carry(
      all.toSorted((one, other) => one.settledAt - other.settledAt),
      restored.lastAnswer,
    );
    this.guard = shared?.guard ?? new SlidingWindow(preset.guard, 0);
    this.pauses = new Pauses(restored.pauses, shared?.pauses);
    this.shares = new ClientShares(options.perClient);
    this.shares.carry(rows);
    const { shares, window } = this;
    const changed = (pulls: number): void => void (window.setAside = pulls);
    this.setAsides = new SetAsides({ shares, changed }, saved?.setAsides ?? [], this.clock.time());
    this.hasAnswered = saved?.observedAt !== undefined;
    this.observedAt = saved?.observedAt;
    this.saved = { pulls: saved?.savedPulls ?? 0, bytes: saved?.savedBytes ?? 0 };
  }

  get owner(): BucketName {
    return this.#options;
  }

  get state(): BucketState {
    const now = this.clock.time();
    if (this.pauses.emptyUntil(now)) return "exhausted";
    if (this.window.allowance.limit === undefined) return this.hasAnswered ? "unlimited" : "unknown";
    const left = this.window.expected(now) + this.window.setAside;
    if (left <= 0) return "exhausted";
    if (left <= this.#share("reserve")) return "reserve";
    return left <= this.#share("low") ? "low" : "ok";
  }

  get rehearsal(): Rehearsal | undefined {
    const rehearsal = this.pauses.rehearsal(this.clock.time());
    return rehearsal && { mode: rehearsal.mode, until: this.clock.wall(rehearsal.until) };
  }

  /** Pulls that may be sent now. */
  get tokens(): number {
    this.giveBack();
    const now = this.clock.time();
    return this.pauses.emptyUntil(now) ? 0 : this.window.tokens(now);
  }

  /** Pulls that new images may spend, once all in flight is answered. */
  get left(): number {
    this.giveBack();
    const now = this.clock.time();
    return this.pauses.emptyUntil(now) ? 0 : Math.max(0, this.window.expected(now));
  }

  /** Requests of any kind that may be sent now. */
  get guardTokens(): number {
    return this.guard.tokens(this.clock.time());
  }

  /** Gives back what was set aside and not used; gives how long until there is more to give back. */
  giveBack(): number {
    if (this.window.setAside === 0) return Number.POSITIVE_INFINITY;
    const now = this.clock.time();
    return this.setAsides.expire(now) - now;
  }

  /** How long until there is a pull more than now; undefined when that is not known. */
  get pullFreeInMs(): number | undefined {
    const now = this.clock.time();
    const free = this.pullsFreeAt(now, Math.max(0, this.tokens) + 1);
    return free === undefined ? undefined : free - now;
  }

  /** How long until the guard allows another request. */
  get requestFreeInMs(): number | undefined {
    const now = this.clock.time();
    const free = freeAt(this.guard.view(now), now, 1);
    return free === undefined ? undefined : free - now;
  }

  /** Why `what` may not be requested, whatever that costs; undefined when it may. */
  stop({ what }: Pick<QuotaRequest, "what">): QuotaError | undefined {
    const now = this.clock.time();
    const rehearsal = this.pauses.rehearsal(now);
    if (rehearsal?.mode === "down") return rehearsed(this.#options, this.#moment(rehearsal.until));
    const pausedUntil = this.pauses.pausedUntil(now);
    if (pausedUntil !== undefined) return paused(this.#options, this.#moment(pausedUntil));
    const limitedUntil = this.pauses.limitedUntil(what, now);
    return limitedUntil === undefined ? undefined : limited(this.#options, what, this.#moment(limitedUntil));
  }

  /** May `request`, and all that its image takes, be sent now, or perhaps soon? Otherwise the error says why not. */
  verdict(request: QuotaRequest): "now" | "wait" | QuotaError {
    const { kind, purpose } = request;
    const stop = this.stop(request);
    if (stop) return stop;
    if (costOf(kind) === 0) return "now";
    const owner = this.#options;
    const now = this.clock.time();
    const { allowance } = this.window;
    const setAside = this.setAsides.for(request);
    const needed = this.#needed(request);
    // One that was set aside counts in its payer's share already.
    const fullShare =
      setAside?.payer === purpose.payer ? undefined : this.shares.spentBy(purpose, needed, allowance, now);
    if (fullShare) {
      const { pulls, freeAt } = fullShare;
      return overShare(owner, purpose.client.slice(0, 200), pulls, allowance, this.#moment(freeAt));
    }
    const emptyUntil = this.pauses.emptyUntil(now);
    const floor = setAside ? 0 : this.floor(purpose.reason);
    if (setAside ? emptyUntil === undefined : this.tokens - floor >= needed) return "now";
    const free = this.pullsFreeAt(now, floor + needed);
    const moment = this.#moment(free ?? now + allowance.windowMs);
    if (floor > 0) return reserved(owner, { left: this.tokens, kept: floor, needed }, allowance, moment);
    const isExpected = emptyUntil === undefined && this.window.expected(now) >= needed;
    const isSoon = free !== undefined && free > now && free - now <= owner.maxWaitMs;
    return isExpected || isSoon ? "wait" : exhausted(owner, { left: this.tokens, needed }, allowance, moment);
  }

  /** Are there as many pulls as `request`, and the image that it begins, take? */
  isEnoughFor(request: QuotaRequest): boolean {
    return this.setAsides.for(request) !== undefined || this.tokens >= this.#needed(request);
  }

  /** What it takes besides what is set aside for it already. An image may take all of a limit that is too low for it. */
  #needed(request: QuotaRequest): number {
    const { image } = request.purpose;
    const isBegun = image !== undefined && image.partOf.length > 0;
    if (!image || isBegun) return 1;
    const { limit = Number.POSITIVE_INFINITY } = this.window.allowance;
    const rest = image.rest - this.setAsides.pullsOf(request.repository, image.digest);
    return Math.min(1 + Math.max(0, rest), Math.max(1, limit));
  }

  /** How many pulls `reason` must leave: all below `low` for warming, the reserve for revalidation. */
  floor(reason: Reason): number {
    if (this.window.allowance.limit === undefined || reason === "pull") return 0;
    return this.#share(reason === "warm" ? "low" : "reserve");
  }

  /** When `needed` pulls will be left; undefined when that is not known. */
  pullsFreeAt(now: number, needed: number): number | undefined {
    const free = freeAt(this.window.view(now), now, needed);
    return free === undefined ? undefined : Math.max(free, this.pauses.emptyUntil(now) ?? free);
  }

  /** The row of `GET /api/v1/quota`; `waiting` requests wait in the bucket. */
  snapshot(waiting: number): Snapshot {
    const { upstream, account } = this.#options;
    const now = this.clock.time();
    const { setAside } = this.window;
    const expected = this.state === "exhausted" ? 0 : this.left + setAside;
    const left = Number.isFinite(expected) ? expected : undefined;
    const facts = {
      name: upstream,
      account: account ?? "anonymous",
      source: this.limits.source,
      state: this.state,
      left,
      reserve: this.#share("reserve"),
      spent: this.window.spent(now),
      setAside,
      inFlight: this.guard.inFlight,
      waiting,
      nextFreeAt: this.pullsFreeAt(now, (left ?? 0) - setAside + 1),
      learntFrom: this.limits.from,
      observedAt: this.observedAt,
      saved: { ...this.saved },
      rehearsal: this.rehearsal,
    };
    return snapshotOf(facts, this.window.view(now), this.clock);
  }

  /** What the ledger keeps for the next process; `at` is the wall clock's time. */
  toSave(at: number): SavedBucket {
    const time = this.clock.time();
    const lastAnswer = this.window.lastAnswer(time);
    const { limit, windowMs } = this.window.allowance;
    return {
      time,
      at,
      limit,
      windowMs,
      learntFrom: this.limits.from,
      remaining: lastAnswer?.remaining,
      since: lastAnswer?.since ?? 0,
      observedAt: this.observedAt,
      source: this.limits.source,
      savedPulls: this.saved.pulls,
      savedBytes: this.saved.bytes,
      setAsides: this.window.setAside === 0 ? [] : this.setAsides.saved(time),
      ...this.pauses.saved(time),
    };
  }

  #share(of: "reserve" | "low"): number {
    return Math.ceil((this.window.allowance.limit ?? 0) * this.#options[of]);
  }

  #moment(time: number): Moment {
    return { at: this.clock.wall(time), inMs: time - this.clock.time() };
  }
}

/** How many clients are remembered; each has spent a pull, so a limit bounds them too. */
const mostClients = 10_000;

/** The share of the limit that all names of one address may spend, unless one client may spend more. */
const mostOfHolder = 0.5;

/** What each client has spent of a window, so that none has more than its share (`quota.perClient`). */
class ClientShares {
  readonly #share: number | undefined;
  /** Each client's pulls, oldest first. */
  readonly #spent = new Map<string, Pick<WindowRow, "sentAt">[]>();

  /** `share` is of the limit, 0 to 1; without it nothing is counted. */
  constructor(share: number | undefined) {
    this.#share = share;
  }

  /** Takes over what clients spent under earlier processes, oldest first. */
  carry(rows: Restored["rows"]): void {
    for (const { payer, settledAt } of rows) {
      if (payer !== null) this.#add(payer, { sentAt: settledAt });
    }
  }

  add(payer: string, row: Pick<WindowRow, "sentAt" | "cost">): void {
    if (row.cost > 0) this.#add(payer, row);
  }

  /** Takes back a request that was not counted. */
  remove(payer: string, row: Pick<WindowRow, "sentAt">): void {
    for (const key of keysOf(payer)) {
      const rows = this.#spent.get(key);
      const at = rows?.indexOf(row) ?? -1;
      if (at < 0) continue;
      rows?.splice(at, 1);
      if (rows?.length === 0) this.#spent.delete(key);
    }
  }

  /**
   * The client's share, or that of all names of its address, if `needed` pulls are not left of it, and when they will be. Warming
   * counts for no client.
   */
  spentBy(
    { reason, payer }: Purpose,
    needed: number,
    { limit, windowMs }: Allowance,
    now: number,
  ): { readonly pulls: number; readonly freeAt: number } | undefined {
    const share = this.#share;
    if (share === undefined || limit === undefined || reason === "warm") return undefined;
    const shares = [share, Math.max(share, Math.min(share * clientsPerHolder, mostOfHolder))];
    for (const [index, key] of keysOf(payer).entries()) {
      const rows = this.#spent.get(key) ?? [];
      const first = rows.findIndex(({ sentAt }) => sentAt > now - windowMs);
      rows.splice(0, first < 0 ? rows.length : first);
      const pulls = Math.max(1, Math.floor(limit * (shares[index] ?? share)));
      // An image that takes more than all of a share may take all of it.
      const oldest = rows.at(-(pulls + 1 - Math.min(needed, pulls)));
      if (oldest) return { pulls, freeAt: oldest.sentAt + windowMs };
    }
    return undefined;
  }

  #add(payer: string, row: Pick<WindowRow, "sentAt">): void {
    if (this.#share === undefined) return;
    for (const key of keysOf(payer)) {
      this.#spent.getOrInsertComputed(key, () => []).push(row);
      if (this.#spent.size <= mostClients) continue;
      const oldest = this.#spent.keys().next();
      if (!oldest.done) this.#spent.delete(oldest.value);
    }
  }
}

/** What a client's pulls are counted under: itself, and all names of its address. */
function keysOf(payer: string): readonly string[] {
  const holder = holderOf(payer);
  return holder === undefined ? [payer] : [payer, `@${holder}`];
}

/** Stands for pulls that may be missing from a restored ledger: the whole limit, until the upstream says what is left. */
function missingPulls({ fullSince }: Restored, { limit }: Allowance): readonly CarriedRow[] {
  if (fullSince === undefined || limit === undefined) return [];
  return [{ id: 0, cost: limit, settledAt: fullSince, expectedAt: fullSince, counted: false }];
}

/** The least pause after a 429 about requests of any kind: what Docker Hub asks for when it names a time. */
const abusePauseMs = 60_000;
/** The pause after any other 429 that names none. */
const unnamedPauseMs = 10_000;
/** A pause shorter than this would send all waiting requests into the next 429. */
const shortestPauseMs = 1000;
/** No upstream can pause us for longer: then the next request finds out. That no pulls are left may hold for longer: see the window. */
const longestPauseMs = 60 * 60 * 1000;
/** So many things that an upstream limits alone are remembered. */
const mostLimited = 1000;

/** A 429. `retryAfterMs` is undefined where it names no time. */
export interface RateLimited {
  /** What it is about: the pulls of a window, all requests from our address or of the account, or nothing but what was requested. */
  readonly of: "pulls" | "address" | "account" | "request";
  readonly what: string;
  readonly retryAfterMs: number | undefined;
}

export class Pauses {
  #emptyUntil: number;
  #pausedUntil = 0;
  /** After too many requests of any kind, which are counted by address, whatever account sends them. */
  #abusedUntil: number;
  /** Until when what was requested is left alone; the oldest goes first. It is not saved: a restart costs one request for each. */
  readonly #limitedUntil = new Map<string, number>();
  readonly #beside: Pauses | undefined;
  #rehearsal: { readonly mode: RehearsalMode; readonly until: number } | undefined;

  /** `beside` are those of a bucket whose requests come from the same address. */
  constructor({ pausedUntil, emptyUntil }: SavedPauses, beside?: Pauses) {
    // Which kind of pause it was is not saved: it holds for the address.
    this.#abusedUntil = pausedUntil;
    this.#emptyUntil = emptyUntil;
    this.#beside = beside;
  }

  limited({ of, what, retryAfterMs }: RateLimited, now: number): void {
    if (of === "pulls") {
      const ms = Math.min(retryAfterMs ?? 0, longestPauseMs);
      this.#emptyUntil = Math.max(this.#emptyUntil, now + ms);
      return;
    }
    const least =
      of === "address" ? abusePauseMs : retryAfterMs === undefined ? unnamedPauseMs : shortestPauseMs;
    const until = now + Math.min(Math.max(retryAfterMs ?? 0, least), longestPauseMs);
    if (of === "address") this.#ofAddress.#abusedUntil = Math.max(this.#ofAddress.#abusedUntil, until);
    else if (of === "account") this.#pausedUntil = Math.max(this.#pausedUntil, until);
    else this.#limit(what, until);
  }

  rehearse(mode: RehearsalMode, until: number): void {
    this.#rehearsal = { mode, until };
  }

  /** Until when no pull is left, because the upstream said so or in rehearsal; undefined when that is over. */
  emptyUntil(now: number): number | undefined {
    const rehearsed = this.#rehearsal?.mode === "empty" ? this.#rehearsal.until : 0;
    const until = Math.max(this.#emptyUntil, rehearsed);
    return now < until ? until : undefined;
  }

  /** Until when `what` is not requested, though other things are. */
  limitedUntil(what: string, now: number): number | undefined {
    const until = this.#limitedUntil.get(what);
    if (until !== undefined && now < until) return until;
    this.#limitedUntil.delete(what);
    return undefined;
  }

  /** Until when no request of any kind is sent. */
  pausedUntil(now: number): number | undefined {
    const until = Math.max(this.#pausedUntil, this.#ofAddress.#abusedUntil);
    return now < until ? until : undefined;
  }

  /** What to save. A rehearsal ends with the process, an upstream's pause does not. */
  saved(now: number): { readonly pausedUntil: number | undefined; readonly emptyUntil: number | undefined } {
    return {
      pausedUntil: this.pausedUntil(now),
      emptyUntil: now < this.#emptyUntil ? this.#emptyUntil : undefined,
    };
  }

  rehearsal(now: number): { readonly mode: RehearsalMode; readonly until: number } | undefined {
    return this.#rehearsal && now < this.#rehearsal.until ? this.#rehearsal : undefined;
  }

  #limit(what: string, until: number): void {
    const already = this.#limitedUntil.get(what) ?? 0;
    this.#limitedUntil.delete(what);
    this.#limitedUntil.set(what, Math.max(already, until));
    const [oldest] = this.#limitedUntil.keys();
    if (this.#limitedUntil.size > mostLimited && oldest !== undefined) this.#limitedUntil.delete(oldest);
  }

  /** Those that hold for all buckets of an address. */
  get #ofAddress(): Pauses {
    return this.#beside ?? this;
  }
}
