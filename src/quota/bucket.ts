/** One quota as an upstream counts it: the books, and the two lines in front of them. */
import { Account, type Reservation } from "./account.ts";
import type { Balance, SharedByAddress } from "./balance.ts";
import { systemClocks, type Clocks } from "./clock.ts";
import type { QuotaListener } from "./events.ts";
import type { Ledger } from "./ledger.ts";
import { PriorityQueue } from "../async/priorityQueue.ts";
import { costOf, knownLimits, type Quota } from "./limits.ts";
import {
  QuotaError,
  type QuotaAnswer,
  type Bucket,
  type QuotaRequest,
  type Permit,
  type Reason,
} from "./quota.ts";
import { busy } from "./refusal.ts";
import type { Rehearsal, RehearsalMode, Snapshot, BucketState } from "./snapshot.ts";

export interface BucketOptions {
  readonly upstream: string;
  /** The account's name; anonymous without one. */
  readonly account?: string;
  /** What the operator says is allowed, used until the upstream says something. */
  readonly quota?: Quota;
  /** The share of the limit that only first pulls may spend. */
  readonly reserve: number;
  /** The share of the limit below which saving begins. */
  readonly low: number;
  /** The share of the limit that one client may spend in a window; without it, all of it. */
  readonly perClient?: number;
  /** How long a request may wait for its turn. */
  readonly maxWaitMs: number;
  /** Milliseconds between two pulls; known upstreams bring their own. */
  readonly minIntervalMs?: number;
  /** Requests that may be under way at once. */
  readonly concurrency: number;
  readonly ledger: Ledger;
  readonly clocks?: Clocks;
  /** Another bucket of the same upstream: what the upstream counts by address, they may spend together. */
  readonly beside?: QuotaBucket;
}

/** Opens the bucket of an upstream and account, where the last process left it. @throws what the ledger throws. */
export async function openBucket(options: BucketOptions): Promise<QuotaBucket> {
  const { upstream, account, quota, clocks = systemClocks, beside } = options;
  const preset = knownLimits(upstream, account !== undefined);
  const minIntervalMs = options.minIntervalMs ?? preset.minIntervalMs ?? 0;
  return new QuotaBucket(
    options,
    minIntervalMs,
    await Account.open({
      ...options,
      account,
      quota,
      clocks,
      preset,
      ...(beside && { shared: beside.shared }),
    }),
  );
}

/** Even an empty line takes some turns of the event loop to pass. */
const leastPatienceMs = 1000;

const priorities: Readonly<Record<Reason, number>> = { pull: 1, revalidate: 4, warm: 7 };

/** A token is fetched once for all who need it, so those who wait for it may be in more of a hurry than who began. */
function priorityOf({ kind, purpose }: QuotaRequest): number {
  return kind === "token" ? priorities.pull : priorities[purpose.reason];
}

/** What takes `errand` out of the line before its turn comes. */
function endOf({ kind, purpose: { overtaken } }: QuotaRequest, signal: AbortSignal | undefined) {
  if (kind === "token" || !overtaken) return signal;
  return signal ? AbortSignal.any([signal, overtaken]) : overtaken;
}

/** A bucket that keeps its promises over restarts. */
export class QuotaBucket implements Bucket {
  readonly #account: Account;
  readonly #balance: Balance;
  readonly #maxWaitMs: number;
  readonly #minIntervalMs: number;
  /** Pulls, as the window allows them; a turn is over at once. */
  readonly #pulls: PriorityQueue;
  /** Requests of any kind, as the guard allows them; a turn lasts until the answer. */
  readonly #requests: PriorityQueue;
  /** Who stands in line for a pull, by what ends the wait. */
  readonly #hopeful = new Map<AbortController, QuotaRequest>();
  #waiting = 0;
  #wake: NodeJS.Timeout | undefined;

  /** See {@link openBucket}. */
  constructor({ concurrency, maxWaitMs }: BucketOptions, minIntervalMs: number, account: Account) {
    const { balance } = account;
    this.#account = account;
    this.#balance = balance;
    this.#maxWaitMs = Math.max(maxWaitMs, leastPatienceMs);
    this.#minIntervalMs = minIntervalMs;
    this.#pulls = new PriorityQueue({ maxConcurrent: null, minTime: minIntervalMs }, () => balance.tokens);
    this.#requests = new PriorityQueue({ maxConcurrent: concurrency, minTime: 0 }, () => balance.guardTokens);
  }

  async take(errand: QuotaRequest, caller?: AbortSignal): Promise<Permit> {
    const signal = endOf(errand, caller);
    signal?.throwIfAborted();
    const started = performance.now();
    const patience = new AbortController();
    const leave = (): void => patience.abort(signal?.reason);
    const tooLong = (): void => patience.abort(busy(this.#balance.owner, this.#maxWaitMs));
    const timer = setTimeout(tooLong, this.#maxWaitMs).unref();
    signal?.addEventListener("abort", leave, { once: true });
    this.#waiting += 1;
    try {
      const permit = await this.#admit(errand, patience);
      this.#granted(errand, performance.now() - started);
      return permit;
    } catch (error) {
      if (error instanceof QuotaError) this.#account.refuse(errand, error);
      throw error;
    } finally {
      this.#waiting -= 1;
      clearTimeout(timer);
      signal?.removeEventListener("abort", leave);
      this.#fill();
    }
  }

  refusal(errand: QuotaRequest): QuotaError | undefined {
    const verdict = this.#balance.verdict(errand);
    if (!(verdict instanceof QuotaError)) return undefined;
    this.#account.refuse(errand, verdict);
    return verdict;
  }

  learnToken(token: string): void {
    this.#account.learnToken(token);
    this.#fill();
  }

  get state(): BucketState {
    return this.#balance.state;
  }

  get rehearsal(): Rehearsal | undefined {
    return this.#balance.rehearsal;
  }

  /** What {@link BucketOptions.beside} is about. */
  get shared(): SharedByAddress {
    return this.#account.shared;
  }

  /** One row of `GET /api/v1/quota`. */
  snapshot(): Snapshot {
    return this.#balance.snapshot(this.#waiting);
  }

  /** Calls `listener` with each event until the returned function is called. */
  on(listener: QuotaListener): () => void {
    return this.#account.events.on(listener);
  }

  /** Counts what was served without asking the upstream; kept in memory until the next {@link maintain}. */
  saved(pulls: number, bytes: number): void {
    this.#account.saved(pulls, bytes);
  }

  /** Behaves as if the upstream were empty or down until `untilMs` on the wall clock; a time gone by ends that. */
  rehearse(mode: RehearsalMode, untilMs: number): void {
    this.#account.rehearse(mode, untilMs);
    this.#fill();
  }

  /** Whether a free question, the HEAD of any manifest, may bring good news. At most once in ten seconds. */
  worthAsking(): boolean {
    return this.#account.worthAsking();
  }

  /** To be called each minute: sends a `sample`, persists what is in memory, and folds what is old. */
  async maintain(): Promise<void> {
    await this.#account.maintain(this.#waiting);
  }

  /** Writes down where it stands. Nothing may be taken any more. */
  async close(): Promise<void> {
    clearTimeout(this.#wake);
    await this.#account.close();
  }

  async #admit(errand: QuotaRequest, patience: AbortController): Promise<Permit> {
    const { signal } = patience;
    const priority = priorityOf(errand);
    for (;;) {
      const early = await this.#claim(errand, priority, patience);
      let end: (() => void) | undefined;
      let claim: Reservation | undefined = early;
      let isAdmitted = false;
      try {
        end = await this.#turn(this.#requests, priority, signal, () => {
          if (this.#balance.stop) throw this.#balance.stop;
          claim ??= this.#account.reserve(errand);
          isAdmitted = this.#account.admit(claim);
        });
        if (claim && isAdmitted) {
          await this.#account.begin(claim);
          signal.throwIfAborted();
          return this.#permit(claim, end);
        }
      } catch (error) {
        this.#abandon(claim, end);
        throw error;
      }
      // The upstream has said meanwhile that less is left: back into the line.
      this.#abandon(claim, end);
    }
  }

  /** Sets the cost of `errand` aside when it is its turn; undefined when it costs nothing. @throws QuotaError */
  async #claim(
    errand: QuotaRequest,
    priority: number,
    patience: AbortController,
  ): Promise<Reservation | undefined> {
    for (;;) {
      const verdict = this.#balance.verdict(errand);
      if (verdict instanceof QuotaError) throw verdict;
      if (costOf(errand.kind) === 0) return undefined;
      if (this.#pulls.waiting * this.#minIntervalMs >= this.#maxWaitMs) {
        throw busy(this.#balance.owner, this.#maxWaitMs);
      }
      this.#hopeful.set(patience, errand);
      let claim: Reservation | undefined;
      try {
        const end = await this.#turn(this.#pulls, priority, patience.signal, () => {
          this.#hopeful.delete(patience);
          if (this.#balance.verdict(errand) === "go") claim = this.#account.reserve(errand);
        });
        end();
      } finally {
        this.#hopeful.delete(patience);
      }
      if (claim) return claim;
    }
  }

  #turn(line: PriorityQueue, priority: number, signal: AbortSignal, begin: () => void): Promise<() => void> {
    const turn = line.turn(priority, signal, begin);
    // There may be somebody to wake up now.
    this.#fill();
    return turn;
  }

  #abandon(claim: Reservation | undefined, end: (() => void) | undefined): void {
    if (claim) this.#account.release(claim);
    end?.();
  }

  #permit(claim: Reservation, end: () => void): Permit {
    let isOpen = true;
    const close = (book: () => void): void => {
      if (!isOpen) return;
      isOpen = false;
      book();
      end();
      this.#fill();
    };
    return {
      answered: (answer: QuotaAnswer) => close(() => this.#account.answered(claim, answer)),
      failed: () => close(() => this.#account.failed(claim)),
    };
  }

  #granted({ kind, purpose: { reason } }: QuotaRequest, waitedMs: number): void {
    const { upstream } = this.#balance.owner;
    this.#account.events.emit({ type: "granted", upstream, reason, cost: costOf(kind), waitedMs });
  }

  /**
   * Lets both lines have what is there now, sends those away for whom there will be nothing in time, and wakes up when
   * there will be more for the others.
   */
  #fill(): void {
    const { tokens, guardTokens } = this.#balance;
    this.#pulls.fill();
    this.#requests.fill();
    if (tokens < 1) this.#disappoint();
    clearTimeout(this.#wake);
    const soon: number[] = [];
    if (this.#pulls.waiting > 0 && tokens < 1) soon.push(this.#balance.pullFreeInMs ?? 0);
    if (this.#requests.waiting > 0 && guardTokens < 1) soon.push(this.#balance.requestFreeInMs ?? 0);
    const inMs = Math.min(...soon.filter((ms) => ms > 0));
    if (inMs <= this.#maxWaitMs) this.#wake = setTimeout(() => this.#fill(), inMs + 1).unref();
  }

  #disappoint(): void {
    for (const [patience, errand] of this.#hopeful) {
      const verdict = this.#balance.verdict(errand);
      if (verdict instanceof QuotaError) patience.abort(verdict);
    }
  }
}

/** Writes nothing down: there is nothing that would have to outlive the process. */
const forgetful: Ledger = {
  spend: async () => 0,
  settle: async () => {},
  recover: async () => {},
  rowsSince: async () => [],
  latest: async () => undefined,
  state: async () => undefined,
  keep: async () => {},
  refuse: async () => {},
  spendBy: async () => [],
  spendOver: async () => [],
  fold: async () => 0,
  forget: async () => {},
};

/** A bucket beside the account's, for what others than the account ask of `upstream` from the same address. */
export function openFreeBucket(upstream: string, beside: QuotaBucket): Promise<QuotaBucket> {
  const ledger = forgetful;
  return openBucket({ upstream, reserve: 0, low: 0, maxWaitMs: 5000, concurrency: 4, ledger, beside });
}
