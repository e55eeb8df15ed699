/** Counts what one bucket sends: in memory, in the ledger, and in events. What may be sent is balance.ts's concern. */
import type { Clock } from "../async/clock.ts";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/reference.ts";
import { Balance, type BalanceOptions, type RateLimited } from "./balance.ts";
import type { QuotaEvent, QuotaListener } from "./events.ts";
import type { Ledger, LedgerEntry, EntryOutcome, SavedBucket, Spender } from "./ledger.ts";
import { costOf, readRetryAfter } from "./limits.ts";
import type { QuotaAnswer, QuotaError, QuotaRequest } from "./quota.ts";
import { unwritable } from "./refusal.ts";
import { restore, type Restored } from "./restore.ts";
import type { BucketState, RehearsalMode } from "./snapshot.ts";
import { keepMs, type Settlement } from "./slidingWindow.ts";
import type { WindowRow } from "./windowRows.ts";

export interface AccountOptions extends BalanceOptions {
  readonly ledger: Ledger;
  readonly clock: Pick<Clock, "now" | "elapsed">;
}

/** A request's place in the window, from before it is sent until it is settled. */
export interface Reservation {
  readonly request: QuotaRequest;
  readonly row: WindowRow;
  /** The image whose set-aside pull it has taken. */
  readonly paidBy: string | undefined;
  /** The same request in the guard's window, once it is about to be sent. */
  guardRow?: WindowRow;
}

/** How old the last news of what is left must be before {@link Account.worthAsking}. */
const askEveryMs = 10_000;

/** One bucket without its queues. */
export class Account {
  readonly balance: Balance;
  readonly #options: AccountOptions;
  readonly #writer: LedgerWriter;
  readonly #listeners = new Set<QuotaListener>();
  #askedAt = Number.NEGATIVE_INFINITY;
  /** Pulls may be missing from the ledger, and the upstream has not said yet what is left. */
  #isUnproven: boolean;
  #state: BucketState;

  /** @throws what the ledger throws: without it, what may be spent is not known. */
  static async open(options: AccountOptions): Promise<Account> {
    const bucket = `${options.upstream} ${options.account ?? ""}`.trim();
    return new Account(options, bucket, await restore(options.ledger, bucket, options.clock));
  }

  private constructor(options: AccountOptions, bucket: string, restored: Restored) {
    const { upstream } = options;
    this.#options = options;
    this.#writer = new LedgerWriter(options.ledger, bucket, (error) =>
      this.emit({ type: "ledger-failed", upstream, error }),
    );
    this.balance = new Balance(options, restored);
    this.#isUnproven = restored.fullSince !== undefined;
    this.#state = this.balance.state;
  }

  /** Calls `listener` with each event until the returned function is called. */
  on(listener: QuotaListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  emit(event: QuotaEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /**
   * Reserves what `request` costs, and sets aside what the rest of its image will. Call it in the same turn as a verdict
   * of `now`.
   */
  reserve(request: QuotaRequest): Reservation {
    const { window, shares, clock } = this.balance;
    const cost = costOf(request.kind);
    const now = clock.time();
    const paidBy = cost > 0 ? this.#takeSetAside(request) : undefined;
    const row = window.send(cost, now);
    shares.add(request.purpose.payer, row);
    if (cost > 0) this.#setAside(request, now);
    return { request, row, paidBy };
  }

  /**
   * Counts a request in the guard's window, if its reservation still holds: the upstream may have said in the meantime
   * that less is left than its reason must leave.
   */
  admit(reservation: Reservation): boolean {
    const { row, request, paidBy } = reservation;
    const { clock, pauses, window, guard } = this.balance;
    const now = clock.time();
    const isEnough =
      paidBy === undefined
        ? window.tokens(now) >= this.balance.floor(request.purpose.reason)
        : window.tokens(now) + window.setAside >= 0;
    const isLeft = isEnough && pauses.emptyUntil(now) === undefined;
    const holds = row.cost === 0 || isLeft;
    if (holds) reservation.guardRow = guard.send(1, now);
    return holds;
  }

  /** Writes down what is about to be sent. @throws QuotaError when a pull that a limit counts cannot be written. */
  async begin({ row, request }: Reservation): Promise<void> {
    const { clock, window, observedAt } = this.balance;
    const time = clock.time();
    if (row.cost === 0) return;
    const isLimited = window.allowance.limit !== undefined;
    // An upstream that has never said what is left cannot correct what a power cut takes from the ledger either.
    const mustLast = isLimited && observedAt === undefined;
    row.id = await this.#writer.spend(
      { ...this.#spender(request), time, cost: row.cost, payer: request.purpose.payer },
      mustLast,
    );
    if (row.id === undefined && isLimited) throw unwritable(this.#options);
    this.#writer.saveChanged(this.#toSave());
    this.#emitState();
  }

  /** Images that begin with these do not come whole, so others may have what is set aside for them. */
  giveUp(repository: Repository, digests: readonly Digest[]): void {
    if (this.balance.setAsides.drop(repository, digests)) this.#writer.saveChanged(this.#toSave());
  }

  /** The request was not sent. */
  release(reservation: Reservation): void {
    this.#settle(reservation, "free", "released");
  }

  /** No answer came. The upstream may have counted the request all the same. */
  failed(reservation: Reservation): void {
    this.#settle(reservation, "doubtful", "failed");
  }

  /** The upstream has answered. */
  answered(reservation: Reservation, answer: QuotaAnswer): void {
    const { status, headers } = answer;
    const { kind } = reservation.request;
    const { balance } = this;
    const now = balance.clock.time();
    balance.hasAnswered = true;
    const isLimited = status === 429;
    const isOk = status >= 200 && status < 400;
    const isAboutPulls = kind === "manifest-get" || kind === "manifest-head";
    const remaining = isAboutPulls
      ? this.#learn(() => balance.limits.readAnswer(headers, isOk, now))
      : undefined;
    // An upstream that names what is left names it whenever it counts.
    const isCounted = isOk && (remaining !== undefined || balance.limits.from !== "headers");
    const isRefused = status === 401 || status === 403 || status === 404;
    const settlement = isLimited ? "free" : isCounted ? "counted" : isRefused ? "refused" : "doubtful";
    this.#settle(reservation, settlement, outcomeOf(status));
    if (remaining !== undefined) this.#observe(reservation, remaining);
    if (isLimited) {
      const retryAfterMs = readRetryAfter(headers, this.#options.clock.now());
      const of = this.#limitedOf(reservation, answer, remaining);
      // A time that it names is when there will be some; without one, pulls come back as they were spent.
      if (of === "pulls" && retryAfterMs === undefined) this.#observe(reservation, 0);
      balance.pauses.limited({ of, what: reservation.request.what, retryAfterMs }, now);
      // In any case: the next process must not send anything before the time that was named.
      void this.#writer.saveNow(this.#toSave());
    } else {
      this.#writer.saveChanged(this.#toSave());
    }
    this.#emitState();
  }

  /** Reads the limit that a token claims. */
  learnToken(token: string): void {
    const { limits, clock } = this.balance;
    this.#learn(() => limits.readToken(token, clock.time()));
    this.#writer.saveChanged(this.#toSave());
    this.#emitState();
  }

  /** Counts a request that is not sent. */
  refuse(request: QuotaRequest, { kind, message, retryAfter }: QuotaError): void {
    const spender = this.#spender(request);
    const { upstream, repository, client, reason } = spender;
    this.#writer.refuse(spender);
    this.emit({ type: "refused", upstream, kind, reason, client, repository, message, retryAfter });
    this.#emitState();
  }

  /**
   * May the HEAD of any manifest, which costs nothing, bring good news? It may when a pull would be refused though one
   * should have come free by now, or though others, or nobody, spent what is missing; ten seconds after the last news at the earliest.
   */
  worthAsking(): boolean {
    const { clock, pauses, window } = this.balance;
    const now = clock.time();
    const stopped = pauses.pausedUntil(now) ?? pauses.emptyUntil(now) ?? pauses.rehearsal(now);
    if (stopped !== undefined || now - this.#askedAt < askEveryMs) return false;
    const { limit = Number.POSITIVE_INFINITY } = window.allowance;
    if (window.tokens(now) >= 1) return false;
    const isSpent = this.balance.pullsFreeAt(now, 1) !== now && window.spent(now) >= limit;
    const mayComeBack = window.mayComeBack && this.balance.observedAt !== undefined;
    if (isSpent && !this.#isUnproven && !mayComeBack) return false;
    this.#askedAt = now;
    return true;
  }

  /** Counts what was served without a request to the upstream; written with the next {@link maintain}. */
  saved(pulls: number, bytes: number): void {
    this.balance.saved.pulls += pulls;
    this.balance.saved.bytes += bytes;
  }

  /** Behaves as if the upstream were empty or down, until the wall clock's `until`. */
  rehearse(mode: RehearsalMode, until: number): void {
    const { clock, pauses } = this.balance;
    const now = clock.time();
    pauses.rehearse(mode, now + until - clock.wall(now));
    this.#emitState();
  }

  /** To be called each minute: sends a `sample`, saves the bucket, and adds up old entries of the ledger. */
  async maintain(waiting: number): Promise<void> {
    const { upstream } = this.#options;
    this.#emitState();
    this.emit({ type: "sample", upstream, snapshot: this.balance.snapshot(waiting) });
    await this.#writer.saveNow(this.#toSave());
    await this.#writer.fold(this.#toSave());
  }

  /** Saves the bucket, and with it the time of the ledger's clock. */
  async close(): Promise<void> {
    await this.#writer.saveNow(this.#toSave());
  }

  /** What a 429 is about: a client chose what was requested, so it speaks for all only in the ways that Docker Hub is known for. */
  #limitedOf(
    { request, row }: Reservation,
    { abuse, pulls }: QuotaAnswer,
    remaining: number | undefined,
  ): RateLimited["of"] {
    if (abuse) return "address";
    if (request.kind === "ping") return "account";
    const { window, observedAt } = this.balance;
    const isCounted = row.cost > 0 && window.allowance.limit !== undefined;
    return isCounted && (remaining === 0 || (pulls && observedAt !== undefined)) ? "pulls" : "request";
  }

  #learn<T>(read: () => T): T {
    const { limits, window } = this.balance;
    const { allowance } = limits;
    const learnt = read();
    if (limits.allowance !== allowance) window.allowance = limits.allowance;
    return learnt;
  }

  #observe({ row }: Reservation, remaining: number): void {
    this.#isUnproven = false;
    this.#askedAt = this.balance.clock.time();
    this.balance.observedAt = this.#options.clock.now();
    this.balance.window.observe(row, remaining, this.#askedAt);
  }

  #takeSetAside(request: QuotaRequest): string | undefined {
    const { setAsides } = this.balance;
    const { image } = request.purpose;
    const found = setAsides.for(request);
    if (found && image) setAsides.take(found.image, image.digest);
    return found?.image;
  }

  #setAside(request: QuotaRequest, now: number): void {
    const { window, setAsides } = this.balance;
    const { image } = request.purpose;
    if (!image || image.rest === 0 || window.allowance.limit === undefined) return;
    // Of an image that was begun it may be less than all.
    const most = window.tokens(now) + setAsides.pullsOf(request.repository, image.digest);
    setAsides.add(request, image, Math.min(image.rest, Math.max(0, most)), now);
  }

  #settle(reservation: Reservation, settlement: Settlement, outcome: Exclude<EntryOutcome, "sent">): void {
    const { clock, window, guard, shares, setAsides } = this.balance;
    const now = clock.time();
    const { row, guardRow, request, paidBy } = reservation;
    window.settle(row, settlement, now);
    if (guardRow) guard.settle(guardRow, "counted", now);
    if (settlement === "free") shares.remove(request.purpose.payer, row);
    if (row.cost > 0) setAsides.settled(request, outcome === "counted", now);
    // It is asked for again in a moment.
    if (paidBy !== undefined && outcome !== "counted" && window.tokens(now) >= 1)
      setAsides.putBack(request, paidBy, now);
    const cost = settlement === "free" ? 0 : row.cost;
    if (row.id !== undefined) this.#writer.settle(row.id, outcome, now, cost);
    const { upstream } = this.#options;
    if (cost > 0) this.emit({ type: "spent", upstream, reason: request.purpose.reason, cost });
    this.#emitState();
  }

  #toSave(): SavedBucket {
    return this.balance.toSave(this.#options.clock.now());
  }

  #spender({ repository, purpose: { client, userAgent, reason } }: QuotaRequest): Spender {
    return {
      upstream: this.#options.upstream,
      repository: repository.name,
      // The client chooses both. A node's name is no longer than this.
      client: client.slice(0, 253),
      userAgent: userAgent.slice(0, 200),
      reason,
      at: this.#options.clock.now(),
    };
  }

  #emitState(): void {
    const from = this.#state;
    const to = this.balance.state;
    if (from === to) return;
    this.#state = to;
    this.emit({ type: "state", upstream: this.#options.upstream, from, to });
  }
}

/** How a request that was answered with `status` ended. */
function outcomeOf(status: number): Exclude<EntryOutcome, "sent"> {
  if (status >= 200 && status < 400) return "counted";
  if (status === 429) return "limited";
  if (status === 404) return "absent";
  return status === 401 || status === 403 ? "denied" : "failed";
}

/** How long sums by the hour are kept. */
const historyMs = 90 * 24 * 60 * 60 * 1000;

/** Writes one bucket to the ledger. A failing disk refuses only what must not go unwritten. */
class LedgerWriter {
  readonly #ledger: Ledger;
  readonly #bucket: string;
  readonly #failed: (error: unknown) => void;
  /** {@link changesOf} what was saved last. */
  #written = "";
  #isFolding = false;

  /** `failed` is called with the error of every write that failed. */
  constructor(ledger: Ledger, bucket: string, failed: (error: unknown) => void) {
    this.#ledger = ledger;
    this.#bucket = bucket;
    this.#failed = failed;
  }

  /** Writes an entry and gives its number; undefined when it cannot be written. */
  async spend(entry: Omit<LedgerEntry, "bucket">, mustLast: boolean): Promise<number | undefined> {
    try {
      return await this.#ledger.spend({ ...entry, bucket: this.#bucket }, mustLast);
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  settle(id: number, outcome: Exclude<EntryOutcome, "sent">, time: number, cost: number): void {
    this.#ledger.settle(id, outcome, time, cost).catch(this.#failed);
  }

  refuse(spender: Spender): void {
    this.#ledger.refuse(spender).catch(this.#failed);
  }

  /** Saves the bucket if more has changed than the times and what was served without a request. */
  saveChanged(saved: SavedBucket): void {
    const changes = changesOf(saved);
    if (changes === this.#written) return;
    this.#written = changes;
    this.#ledger.keep(this.#bucket, saved).catch(this.#failed);
  }

  /** Saves the bucket in any case. */
  async saveNow(saved: SavedBucket): Promise<void> {
    this.#written = changesOf(saved);
    try {
      await this.#ledger.keep(this.#bucket, saved);
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Adds up by the hour what no window needs any more, and drops the oldest sums. */
  async fold({ time, at, windowMs }: SavedBucket): Promise<void> {
    // A long history may take longer than the minute after which this is called again.
    if (this.#isFolding) return;
    this.#isFolding = true;
    const old = time - Math.max(keepMs, 2 * windowMs);
    try {
      // In batches, so that nothing else waits for long.
      while ((await this.#ledger.fold(this.#bucket, old)) > 0) await new Promise(setImmediate);
      await this.#ledger.forget(at - historyMs);
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#isFolding = false;
    }
  }
}

/** What is worth a write of its own. */
function changesOf(saved: SavedBucket): string {
  const { limit, windowMs, learntFrom, remaining, since, source, setAsides } = saved;
  const images = setAsides.map(({ image, pulls }) => [image, pulls]);
  return JSON.stringify([limit, windowMs, learntFrom, remaining, since, source, images]);
}
