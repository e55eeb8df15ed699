/** One bucket's books as they are kept: what is set aside and spent, what an answer teaches, and what is written down. */
import { Balance, type BalanceOptions, type BucketBooks, type SharedByAddress, Shares } from "./balance.ts";
import type { Clocks } from "./clock.ts";
import { QuotaEvents } from "./events.ts";
import { readRetryAfter, LearntLimits, costOf, type KnownLimits, type Quota } from "./limits.ts";
import {
  outcomeOf,
  type Ledger,
  type Outcome,
  type Spender,
  type SavedBucket,
  type LedgerEntry,
} from "./ledger.ts";
import type { QuotaAnswer, QuotaRequest, QuotaError } from "./quota.ts";
import { unwritable } from "./refusal.ts";
import { restore, type Restored } from "./restore.ts";
import type { RehearsalMode, BucketState } from "./snapshot.ts";
import { Pauses } from "./pauses.ts";
import { SlidingWindow, type Settlement, keepMs } from "./slidingWindow.ts";
import type { WindowRow } from "./windowRows.ts";

export interface AccountOptions extends BalanceOptions {
  readonly preset: KnownLimits;
  /** What the operator says is allowed, used until the upstream says something. */
  readonly quota: Quota | undefined;
  /** The share of the limit that one client may spend in a window; without it, all of it. */
  readonly perClient?: number;
  readonly ledger: Ledger;
  readonly clocks: Clocks;
  /** What another bucket of the upstream shares with this one. */
  readonly shared?: SharedByAddress;
}

/** How old the last news must be for a free question to be worth asking. */
const askEveryMs = 10_000;

/** Everything but the standing in line, which is the bucket's. */
export class Account {
  readonly events = new QuotaEvents();
  /** What may be spent now. */
  readonly balance: Balance;
  readonly #options: AccountOptions;
  readonly #scribe: LedgerWriter;
  readonly #books: BucketBooks;
  #askedAt = Number.NEGATIVE_INFINITY;
  #state: BucketState;

  /** @throws whatever the ledger throws: without it, what may be spent is not known. */
  static async open(options: AccountOptions): Promise<Account> {
    const bucket = `${options.upstream} ${options.account ?? ""}`.trim();
    return new Account(options, bucket, await restore(options.ledger, bucket, options.clocks));
  }

  private constructor(options: AccountOptions, bucket: string, restored: Restored) {
    const { upstream } = options;
    this.#options = options;
    this.#scribe = new LedgerWriter(options.ledger, bucket, (error) =>
      this.events.emit({ type: "ledger-failed", upstream, error }),
    );
    this.#books = booksOf(options, restored);
    this.balance = new Balance(options, this.#books);
    this.#state = this.balance.state;
  }

  /** What other buckets of the upstream have to share. */
  get shared(): SharedByAddress {
    return this.#books;
  }

  /** Sets aside what `errand` costs, right after a verdict of `go`. */
  reserve(errand: QuotaRequest): Reservation {
    const { window: reckoning, shares, clock } = this.#books;
    return { request: errand, row: shares.add(errand, reckoning.send(costOf(errand.kind), clock.time())) };
  }

  /**
   * Counts a request as one of any kind, if its claim still stands: in the meantime the upstream may have said that less is
   * left than its reason must leave.
   */
  admit(claim: Reservation): boolean {
    const { row, request: errand } = claim;
    const now = this.#books.clock.time();
    const floor = this.balance.floor(errand.purpose.reason);
    const isLeft =
      this.#books.pauses.emptyUntil(now) === undefined && this.#books.window.tokens(now) >= floor;
    const stands = row.cost === 0 || isLeft;
    if (stands) claim.guardRow = this.#books.guard.send(1, now);
    return stands;
  }

  /** Writes down what is about to be sent. @throws QuotaError when a pull that a limit counts cannot be written. */
  async begin(claim: Reservation): Promise<void> {
    const { row, request: errand } = claim;
    const time = this.#books.clock.time();
    if (row.cost === 0) return;
    const isLimited = this.#books.window.allowance.limit !== undefined;
    // An upstream that has never said what is left will not tell us either what a power cut has taken from the ledger.
    const mustLast = isLimited && this.#books.observedAt === undefined;
    row.id = await this.#scribe.spend({ ...this.#spender(errand), time, cost: row.cost }, mustLast);
    if (row.id === undefined && isLimited) throw unwritable(this.#options);
    this.#announce();
  }

  /** It was not sent after all. */
  release(claim: Reservation): void {
    this.#settle(claim, "free", "released");
  }

  /** No answer came; the upstream may have counted it all the same. */
  failed(claim: Reservation): void {
    this.#settle(claim, "doubtful", "failed");
  }

  /** The upstream has answered. */
  answered(claim: Reservation, { status, headers, abuse = false }: QuotaAnswer): void {
    const { kind } = claim.request;
    const now = this.#books.clock.time();
    this.#books.hasAnswered = true;
    const isLimited = status === 429;
    const isOk = status >= 200 && status < 400;
    const isAboutPulls = kind === "manifest-get" || kind === "manifest-head";
    const remaining = isAboutPulls
      ? this.#learn(() => this.#books.limits.readAnswer(headers, isOk, now))
      : undefined;
    // An upstream that names what is left names it whenever it counts.
    const isCounted = isOk && (remaining !== undefined || this.#books.limits.from !== "headers");
    this.#settle(claim, isLimited ? "free" : isCounted ? "counted" : "doubtful", outcomeOf(status));
    if (remaining !== undefined) this.#observe(claim, remaining);
    if (isLimited) {
      const retryAfterMs = readRetryAfter(headers, this.#options.clocks.now());
      const isLimitedPull = !abuse && claim.row.cost > 0 && this.#books.window.allowance.limit !== undefined;
      // Who never said what is left, and names no time now, may as well mean the rate of requests.
      const isPulls = isLimitedPull && (retryAfterMs !== undefined || this.#books.observedAt !== undefined);
      // Where it names a time, that is when there will be some; else they come back as they were spent.
      if (isPulls && retryAfterMs === undefined) this.#observe(claim, 0);
      this.#books.pauses.limited({ isPulls, isAbuse: abuse, retryAfterMs }, now);
      // In any case: the next process must not ask before the time that was named.
      void this.#scribe.saveNow(this.#standing());
    } else {
      this.#scribe.saveChanged(this.#standing());
    }
    this.#announce();
  }

  /** Reads the limit that a token claims. */
  learnToken(token: string): void {
    this.#learn(() => this.#books.limits.readToken(token, this.#books.clock.time()));
    this.#scribe.saveChanged(this.#standing());
    this.#announce();
  }

  /** Counts a request that is not sent. */
  refuse(errand: QuotaRequest, { kind, message, retryAfter }: QuotaError): void {
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
    const now = this.#books.clock.time();
    const stopped =
      this.#books.pauses.pausedUntil(now) ??
      this.#books.pauses.emptyUntil(now) ??
      this.#books.pauses.rehearsal(now);
    if (stopped !== undefined || now - this.#askedAt < askEveryMs) return false;
    const { limit = Number.POSITIVE_INFINITY } = this.#books.window.allowance;
    if (this.#books.window.tokens(now) >= 1) return false;
    if (this.balance.pullsFreeAt(now, 1) !== now && this.#books.window.spent(now) >= limit) return false;
    this.#askedAt = now;
    return true;
  }

  /** Counts what was served without asking the upstream; written with the next {@link maintain}. */
  saved(pulls: number, bytes: number): void {
    this.#books.saved.pulls += pulls;
    this.#books.saved.bytes += bytes;
  }

  /** Behaves as if the upstream were empty or down, until the wall clock's `until`. */
  rehearse(mode: RehearsalMode, until: number): void {
    const now = this.#books.clock.time();
    this.#books.pauses.rehearse(mode, now + until - this.#books.clock.wall(now));
    this.#announce();
  }

  /** What has to be done each minute: tell where it stands, write that down, and add up what is old. */
  async maintain(waiting: number): Promise<void> {
    const { upstream } = this.#options;
    this.#announce();
    this.events.emit({ type: "sample", upstream, snapshot: this.balance.snapshot(waiting) });
    await this.#scribe.saveNow(this.#standing());
    await this.#scribe.fold(this.#standing());
  }

  /** Writes down where the ledger's clock stands, so that the next process need not reckon with less. */
  async close(): Promise<void> {
    await this.#scribe.saveNow(this.#standing());
  }

  #learn<T>(lesson: () => T): T {
    const { allowance } = this.#books.limits;
    const learnt = lesson();
    if (this.#books.limits.allowance !== allowance)
      this.#books.window.allowance = this.#books.limits.allowance;
    return learnt;
  }

  #observe({ row }: Reservation, remaining: number): void {
    this.#askedAt = this.#books.clock.time();
    this.#books.observedAt = this.#options.clocks.now();
    this.#books.window.observe(row, remaining, this.#askedAt);
  }

  #settle(claim: Reservation, fate: Settlement, outcome: Exclude<Outcome, "sent">): void {
    const now = this.#books.clock.time();
    const { row, guardRow: guarded, request: errand } = claim;
    this.#books.window.settle(row, fate, now);
    if (guarded) this.#books.guard.settle(guarded, "counted", now);
    if (fate === "free") this.#books.shares.remove(errand.purpose.client, row);
    const cost = fate === "free" ? 0 : row.cost;
    if (row.id !== undefined) this.#scribe.settle(row.id, outcome, now, cost);
    const { upstream } = this.#options;
    if (cost > 0) this.events.emit({ type: "spent", upstream, reason: errand.purpose.reason, cost });
    this.#announce();
  }

  #standing(): SavedBucket {
    return this.balance.saved(this.#options.clocks.now());
  }

  #spender({ repository, purpose: { client, userAgent, reason } }: QuotaRequest): Spender {
    return {
      upstream: this.#options.upstream,
      repository: repository.name,
      // Both are the client's to choose. A node's name is no longer than this.
      client: client.slice(0, 253),
      userAgent: userAgent.slice(0, 200),
      reason,
      at: this.#options.clocks.now(),
    };
  }

  #announce(): void {
    const from = this.#state;
    const to = this.balance.state;
    if (from === to) return;
    this.#state = to;
    this.events.emit({ type: "state", upstream: this.#options.upstream, from, to });
  }
}

/** The books as the last process left them. */
function booksOf(options: AccountOptions, restored: Restored): BucketBooks {
  const { quota: configured, preset, account, perClient, shared: common } = options;
  const { saved: standing, rows, lastAnswer: word, pauses: stops } = restored;
  const { clock } = common ?? restored;
  const said = { configured, preset: preset.quota, hasAccount: account !== undefined };
  const lessons = new LearntLimits(said, standing, clock.time());
  const reckoning = new SlidingWindow(lessons.allowance);
  reckoning.carry(rows, word);
  const shares = new Shares(options, perClient);
  shares.carry(rows);
  return {
    clock,
    window: reckoning,
    guard: common?.guard ?? new SlidingWindow(preset.guard, 0),
    pauses: new Pauses(stops, common?.pauses),
    shares,
    limits: lessons,
    hasAnswered: standing?.observedAt !== undefined,
    observedAt: standing?.observedAt,
    saved: { pulls: standing?.savedPulls ?? 0, bytes: standing?.savedBytes ?? 0 },
  };
}

/** A request on its way through the books. */
export interface Reservation {
  readonly request: QuotaRequest;
  readonly row: WindowRow;
  /** The same request in the guard's window, once it is about to be sent. */
  guardRow?: WindowRow;
}

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
