/** One bucket's books: what may be spent, what an answer teaches, and what is said when nothing may go. */
import type { Claim } from "./claim.ts";
import type { Clocks, LedgerClock } from "./clock.ts";
import { Announcer } from "./event.ts";
import { freeAt } from "./forecast.ts";
import { readRetryAfter } from "./headers.ts";
import { outcomeOf, type Ledger, type Outcome, type Spender, type Standing } from "./ledger.ts";
import { Lessons } from "./learn.ts";
import { costOf, type Preset, type Quota } from "./presets.ts";
import type { Answer, Errand, QuotaError, Reason } from "./quota.ts";
import { exhausted, paused, rehearsed, reserved, unwritable, type Moment, type Owner } from "./refusal.ts";
import { restore, type Restored } from "./restore.ts";
import { Scribe } from "./scribe.ts";
import { Shares } from "./shares.ts";
import { snapshotOf, type Rehearsal, type RehearsalMode, type Snapshot, type State } from "./snapshot.ts";
import { Stops } from "./stops.ts";
import { Reckoning, type Fate } from "./window.ts";

export interface AccountOptions extends Owner {
  readonly preset: Preset;
  /** What the operator says is allowed, used until the upstream says something. */
  readonly quota: Quota | undefined;
  /** Shares of the limit, 0 to 1: what only first pulls may touch, and where saving begins. */
  readonly reserve: number;
  readonly low: number;
  readonly perClient?: number;
  /** How long a pull may wait for one to come free. */
  readonly maxWaitMs: number;
  readonly ledger: Ledger;
  readonly clocks: Clocks;
}

/** How old the last news must be for a free question to be worth asking. */
const askEveryMs = 10_000;

/** Everything but the standing in line, which is the bucket's. */
export class Account {
  readonly #options: AccountOptions;
  readonly #scribe: Scribe;
  readonly #clock: LedgerClock;
  readonly #reckoning: Reckoning;
  /** The rate of requests of any kind. It is short, so it is not persisted. */
  readonly #guard: Reckoning;
  readonly #stops: Stops;
  readonly #shares: Shares;
  readonly events = new Announcer();
  readonly #lessons: Lessons;
  #hasAnswered: boolean;
  #observedAt: number | undefined;
  readonly #saved: { pulls: number; bytes: number };
  #askedAt = Number.NEGATIVE_INFINITY;
  #state: State;

  /** @throws whatever the ledger throws: without it, what may be spent is not known. */
  static async open(options: AccountOptions): Promise<Account> {
    const bucket = `${options.upstream} ${options.account ?? ""}`.trim();
    return new Account(options, bucket, await restore(options.ledger, bucket, options.clocks));
  }

  private constructor(options: AccountOptions, bucket: string, restored: Restored) {
    const { clock, standing, rows, word, stops } = restored;
    const now = clock.time();
    this.#options = options;
    this.#shares = new Shares(options, options.perClient);
    const { upstream } = options;
    this.#scribe = new Scribe(options.ledger, bucket, (error) =>
      this.events.emit({ type: "ledger-failed", upstream, error }),
    );
    this.#clock = clock;
    this.#stops = new Stops(stops);
    const { quota: configured, preset, account } = options;
    const said = { configured, preset: preset.quota, hasAccount: account !== undefined };
    this.#lessons = new Lessons(said, standing, now);
    this.#reckoning = new Reckoning(this.#lessons.allowance);
    this.#reckoning.carry(rows, word);
    this.#guard = new Reckoning(preset.guard, 0);
    this.#hasAnswered = standing?.observedAt !== undefined;
    this.#observedAt = standing?.observedAt;
    this.#saved = { pulls: standing?.savedPulls ?? 0, bytes: standing?.savedBytes ?? 0 };
    this.#state = this.state;
  }

  get owner(): Owner {
    return this.#options;
  }

  get state(): State {
    const { limit } = this.#reckoning.allowance;
    const now = this.#clock.time();
    if (this.#stops.emptyUntil(now)) return "exhausted";
    if (limit === undefined) return this.#hasAnswered ? "unlimited" : "unknown";
    const left = this.#reckoning.hoped(now);
    if (left <= 0) return "exhausted";
    if (left <= this.#share("reserve")) return "reserve";
    return left <= this.#share("low") ? "low" : "ok";
  }

  get rehearsal(): Rehearsal | undefined {
    const rehearsal = this.#stops.rehearsal(this.#clock.time());
    return rehearsal && { mode: rehearsal.mode, until: this.#clock.wall(rehearsal.until) };
  }

  /** Pulls that may be sent now: what the line's reservoir is set to. */
  get tokens(): number {
    const now = this.#clock.time();
    return this.#stops.emptyUntil(now) ? 0 : this.#reckoning.tokens(now);
  }

  /** Requests of any kind that may be sent now. */
  get guardTokens(): number {
    return this.#guard.tokens(this.#clock.time());
  }

  /** Milliseconds until a pull comes free; undefined when that is not known. */
  get pullFreeInMs(): number | undefined {
    const now = this.#clock.time();
    const free = this.#freeAt(now, 1);
    return free === undefined ? undefined : free - now;
  }

  /** Milliseconds until the guard lets another request through. */
  get requestFreeInMs(): number | undefined {
    const now = this.#clock.time();
    const free = freeAt(this.#guard.view(now), now, 1);
    return free === undefined ? undefined : free - now;
  }

  /** Why nothing at all may be sent; undefined when that is not so. */
  get stop(): QuotaError | undefined {
    const now = this.#clock.time();
    const rehearsal = this.#stops.rehearsal(now);
    if (rehearsal?.mode === "down") return rehearsed(this.#options, this.#moment(rehearsal.until));
    const pausedUntil = this.#stops.pausedUntil(now);
    return pausedUntil === undefined ? undefined : paused(this.#options, this.#moment(pausedUntil));
  }

  /** Whether `errand` may go now, may be able to go soon, or will not go. */
  verdict({ kind, purpose }: Errand): "go" | "wait" | QuotaError {
    const { stop } = this;
    if (stop) return stop;
    const cost = costOf(kind);
    if (cost === 0) return "go";
    const owner = this.#options;
    const now = this.#clock.time();
    const { allowance } = this.#reckoning;
    const over = this.#shares.refusal(purpose, allowance, now, this.#moment);
    if (over) return over;
    const floor = this.#floor(purpose.reason);
    if (this.tokens - floor >= cost) return "go";
    const free = this.#freeAt(now, floor + cost);
    const moment = this.#moment(free ?? now + allowance.windowMs);
    if (floor > 0) return reserved(owner, this.tokens, allowance, moment);
    const isHoped = !this.#stops.emptyUntil(now) && this.#reckoning.hoped(now) >= cost;
    const isSoon = free !== undefined && free > now && free - now <= owner.maxWaitMs;
    return isHoped || isSoon ? "wait" : exhausted(owner, allowance, moment);
  }

  /** Sets aside what `errand` costs, right after a verdict of `go`. */
  reserve(errand: Errand): Claim {
    return {
      errand,
      row: this.#shares.note(errand, this.#reckoning.send(costOf(errand.kind), this.#clock.time())),
    };
  }

  /**
   * Counts a request as one of any kind, if its claim still stands: in the meantime the upstream may have said that less is
   * left than its reason must leave.
   */
  admit(claim: Claim): boolean {
    const { row, errand } = claim;
    const now = this.#clock.time();
    const floor = this.#floor(errand.purpose.reason);
    const isLeft = this.#stops.emptyUntil(now) === undefined && this.#reckoning.tokens(now) >= floor;
    const stands = row.cost === 0 || isLeft;
    if (stands) claim.guarded = this.#guard.send(1, now);
    return stands;
  }

  /** Writes down what is about to be sent. @throws QuotaError when a pull that a limit counts cannot be written. */
  async begin(claim: Claim): Promise<void> {
    const { row, errand } = claim;
    const time = this.#clock.time();
    if (row.cost === 0) return;
    row.id = await this.#scribe.spend({ ...this.#spender(errand), time, cost: row.cost });
    if (row.id === undefined && this.#reckoning.allowance.limit !== undefined)
      throw unwritable(this.#options);
    this.#announce();
  }

  /** It was not sent after all. */
  release(claim: Claim): void {
    this.#settle(claim, "free", "released");
  }

  /** No answer came; the upstream may have counted it all the same. */
  failed(claim: Claim): void {
    this.#settle(claim, "doubtful", "failed");
  }

  /** The upstream has answered. */
  answered(claim: Claim, { status, headers, abuse = false }: Answer): void {
    const { kind } = claim.errand;
    const now = this.#clock.time();
    this.#hasAnswered = true;
    const isLimited = status === 429;
    const isOk = status >= 200 && status < 400;
    const isAboutPulls = kind === "manifest-get" || kind === "manifest-head";
    const remaining = isAboutPulls ? this.#learn(() => this.#lessons.hear(headers, isOk, now)) : undefined;
    // An upstream that names what is left names it whenever it counts.
    const isCounted = isOk && (remaining !== undefined || this.#lessons.from !== "headers");
    this.#settle(claim, isLimited ? "free" : isCounted ? "counted" : "doubtful", outcomeOf(status));
    if (remaining !== undefined) this.#observe(claim, remaining);
    if (isLimited) {
      const retryAfterMs = readRetryAfter(headers, this.#options.clocks.now());
      const isLimitedPull = !abuse && claim.row.cost > 0 && this.#reckoning.allowance.limit !== undefined;
      // Who never said what is left, and names no time now, may as well mean the rate of requests.
      const isPulls = isLimitedPull && (retryAfterMs !== undefined || this.#observedAt !== undefined);
      // Where it names a time, that is when there will be some; else they come back as they were spent.
      if (isPulls && retryAfterMs === undefined) this.#observe(claim, 0);
      this.#stops.limited({ isPulls, isAbuse: abuse, retryAfterMs }, now);
      // In any case: the next process must not ask before the time that was named.
      void this.#scribe.mark(this.#standing());
    } else {
      this.#scribe.keep(this.#standing());
    }
    this.#announce();
  }

  /** Reads the limit that a token claims. */
  learnToken(token: string): void {
    this.#learn(() => this.#lessons.hearToken(token, this.#clock.time()));
    this.#scribe.keep(this.#standing());
    this.#announce();
  }

  /** Counts a request that is not sent. */
  refuse(errand: Errand, { kind, message, retryAfter }: QuotaError): void {
    const spender = this.#spender(errand);
    const { upstream, repository, client, reason } = spender;
    this.#scribe.refuse(spender);
    this.events.emit({ type: "refused", upstream, kind, reason, client, repository, message, retryAfter });
    this.#announce();
  }

  /**
   * Whether a free question, the HEAD of any manifest, may bring good news: a pull would be refused though one should
   * have come free by now, or though others spent what is missing. Not within ten seconds of the last news.
   */
  worthAsking(): boolean {
    const now = this.#clock.time();
    const stopped = this.#stops.pausedUntil(now) ?? this.#stops.emptyUntil(now) ?? this.#stops.rehearsal(now);
    if (stopped !== undefined || now - this.#askedAt < askEveryMs) return false;
    const { limit = Number.POSITIVE_INFINITY } = this.#reckoning.allowance;
    if (this.#reckoning.tokens(now) >= 1) return false;
    if (this.#freeAt(now, 1) !== now && this.#reckoning.spent(now) >= limit) return false;
    this.#askedAt = now;
    return true;
  }

  /** Counts what was served without asking the upstream; written with the next {@link tend}. */
  saved(pulls: number, bytes: number): void {
    this.#saved.pulls += pulls;
    this.#saved.bytes += bytes;
  }

  /** Behaves as if the upstream were empty or down, until the wall clock's `until`. */
  rehearse(mode: RehearsalMode, until: number): void {
    const now = this.#clock.time();
    this.#stops.rehearse(mode, now + until - this.#clock.wall(now));
    this.#announce();
  }

  /** What has to be done each minute: tell where it stands, write that down, and add up what is old. */
  async tend(waiting: number): Promise<void> {
    const { upstream } = this.#options;
    this.#announce();
    this.events.emit({ type: "sample", upstream, snapshot: this.snapshot(waiting) });
    await this.#scribe.mark(this.#standing());
    await this.#scribe.fold(this.#standing());
  }

  /** Writes down where the ledger's clock stands, so that the next process need not reckon with less. */
  async close(): Promise<void> {
    await this.#scribe.mark(this.#standing());
  }

  snapshot(waiting: number): Snapshot {
    const { upstream, account } = this.#options;
    const now = this.#clock.time();
    const hoped = this.state === "exhausted" ? 0 : Math.max(0, this.#reckoning.hoped(now));
    const left = Number.isFinite(hoped) ? hoped : undefined;
    const facts = {
      name: upstream,
      account: account ?? "anonymous",
      source: this.#lessons.source,
      state: this.state,
      left,
      reserve: this.#share("reserve"),
      spent: this.#reckoning.spent(now),
      inFlight: this.#guard.inFlight,
      waiting,
      nextFreeAt: this.#freeAt(now, (left ?? 0) + 1),
      learntFrom: this.#lessons.from,
      observedAt: this.#observedAt,
      saved: { ...this.#saved },
      rehearsal: this.rehearsal,
    };
    return snapshotOf(facts, this.#reckoning.view(now), this.#clock);
  }

  #learn<T>(lesson: () => T): T {
    const { allowance } = this.#lessons;
    const learnt = lesson();
    if (this.#lessons.allowance !== allowance) this.#reckoning.allowance = this.#lessons.allowance;
    return learnt;
  }

  #observe({ row }: Claim, remaining: number): void {
    this.#askedAt = this.#clock.time();
    this.#observedAt = this.#options.clocks.now();
    this.#reckoning.observe(row, remaining, this.#askedAt);
  }

  #settle(claim: Claim, fate: Fate, outcome: Exclude<Outcome, "sent">): void {
    const now = this.#clock.time();
    const { row, guarded, errand } = claim;
    this.#reckoning.settle(row, fate, now);
    if (guarded) this.#guard.settle(guarded, "counted", now);
    if (fate === "free") this.#shares.forget(errand.purpose.client, row);
    const cost = fate === "free" ? 0 : row.cost;
    if (row.id !== undefined) this.#scribe.settle(row.id, outcome, now, cost);
    const { upstream } = this.#options;
    if (cost > 0) this.events.emit({ type: "spent", upstream, reason: errand.purpose.reason, cost });
    this.#announce();
  }

  #standing(): Standing {
    const time = this.#clock.time();
    const word = this.#reckoning.told(time);
    const { limit, windowMs } = this.#reckoning.allowance;
    return {
      time,
      at: this.#options.clocks.now(),
      limit,
      windowMs,
      learntFrom: this.#lessons.from,
      remaining: word?.remaining,
      since: word?.since ?? 0,
      observedAt: this.#observedAt,
      source: this.#lessons.source,
      savedPulls: this.#saved.pulls,
      savedBytes: this.#saved.bytes,
      ...this.#stops.told(time),
    };
  }

  /** What `reason` must leave: warming stops where saving begins, revalidation at the reserve. */
  #floor(reason: Reason): number {
    if (this.#reckoning.allowance.limit === undefined || reason === "pull") return 0;
    return this.#share(reason === "warm" ? "low" : "reserve");
  }

  #share(of: "reserve" | "low"): number {
    return Math.ceil((this.#reckoning.allowance.limit ?? 0) * this.#options[of]);
  }

  #freeAt(now: number, needed: number): number | undefined {
    const free = freeAt(this.#reckoning.view(now), now, needed);
    return free === undefined ? undefined : Math.max(free, this.#stops.emptyUntil(now) ?? free);
  }

  readonly #moment = (time: number): Moment => ({
    at: this.#clock.wall(time),
    inMs: time - this.#clock.time(),
  });

  #spender({ repository, purpose: { client, userAgent, reason } }: Errand): Spender {
    return {
      upstream: this.#options.upstream,
      repository: repository.name,
      // Both are the client's to choose.
      client: client.slice(0, 200),
      userAgent: userAgent.slice(0, 200),
      reason,
      at: this.#options.clocks.now(),
    };
  }

  #announce(): void {
    const from = this.#state;
    const to = this.state;
    if (from === to) return;
    this.#state = to;
    this.events.emit({ type: "state", upstream: this.#options.upstream, from, to });
  }
}
