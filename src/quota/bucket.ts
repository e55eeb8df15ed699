/** One quota as an upstream counts it: its numbers, and the two queues of requests that wait for them. */
import type { Clock } from "../async/clock.ts";
import { PriorityQueue, type Party } from "../async/concurrency.ts";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/reference.ts";
import { Account, type Reservation } from "./account.ts";
import type { Balance, SharedByAddress } from "./balance.ts";
import type { QuotaListener } from "./events.ts";
import type { Ledger } from "./ledger.ts";
import { costOf, knownLimits, type Quota } from "./limits.ts";
import { QuotaError, type Bucket, type Permit, type QuotaAnswer, type QuotaRequest } from "./quota.ts";
import { busy } from "./refusal.ts";
import type { BucketState, Rehearsal, RehearsalMode, Snapshot } from "./snapshot.ts";

export interface BucketOptions {
  readonly upstream: string;
  /** The account's name; anonymous without one. */
  readonly account?: string;
  /** The configured limit, used until the upstream names one. */
  readonly quota?: Quota;
  /** The share of the limit that is kept for first pulls. */
  readonly reserve: number;
  /** The share of the limit below which the state is `low`. */
  readonly low: number;
  /** The share of the limit that one client may spend in a window; without it, all of it. */
  readonly perClient?: number;
  /** How long a request may wait. */
  readonly maxWaitMs: number;
  /** Milliseconds between two pulls; without it, what is known of the upstream. */
  readonly minIntervalMs?: number;
  /** Requests that may be under way at once. */
  readonly concurrency: number;
  readonly ledger: Ledger;
  readonly clock: Clock;
  /** Another bucket of the same upstream: they share what the upstream counts by address. */
  readonly beside?: QuotaBucket;
}

/** Opens the bucket of an upstream and account as the last process left it. @throws what the ledger throws. */
export async function openBucket(options: BucketOptions): Promise<QuotaBucket> {
  const { upstream, account, quota, beside } = options;
  const preset = knownLimits(upstream, account !== undefined);
  const minIntervalMs = options.minIntervalMs ?? preset.minIntervalMs ?? 0;
  const opened = await Account.open({
    ...options,
    account,
    quota,
    preset,
    ...(beside && { shared: beside.shared }),
  });
  return new QuotaBucket(options, minIntervalMs, opened);
}

/** Writes nothing: requests that cost no pull leave nothing that must outlive the process. */
const noLedger: Ledger = {
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
  unproven: async () => undefined,
};

/** A bucket for requests to `upstream` that cost no pull and show another account than `beside`, from the same address. */
export function openFreeBucket(upstream: string, beside: QuotaBucket, clock: Clock): Promise<QuotaBucket> {
  const ledger = noLedger;
  return openBucket({ upstream, reserve: 0, low: 0, maxWaitMs: 5000, concurrency: 4, ledger, clock, beside });
}

/** Even an empty queue takes some turns of the event loop to pass. */
const leastWaitMs = 1000;

/** A token is fetched once for all that need it, and those may be more urgent than the request that began it. */
const priorities = { token: 0, begun: 1, pull: 2, revalidate: 3, warm: 4 } as const;

function priorityOf({ kind, purpose: { image, reason } }: QuotaRequest): number {
  if (kind === "token") return priorities.token;
  // What was begun is of no use until it is whole.
  return priorities[reason === "pull" && image && image.partOf.length > 0 ? "begun" : reason];
}

/** What takes `request` out of the queue before its turn. */
function endOf({ kind, purpose: { promoted } }: QuotaRequest, signal: AbortSignal | undefined) {
  if (kind === "token" || !promoted) return signal;
  return signal ? AbortSignal.any([signal, promoted]) : promoted;
}

/** So much of the guard's requests is kept for addresses that have sent less than half as many. */
const keptForFew = 1 / 4;

/** And so much for addresses with less than {@link fewInVain}, so that those who guess are the first to wait. */
const keptFromVain = 1 / 2;

/** The share of the guard's requests that an address may have in vain before it is taken for one that guesses: there may be a hundred. */
const fewInVain = 1 / 200;

/** An image takes no more pulls than these: of its index, of a platform's manifest, of a signature. */
const mostOfImage = 3;

/** How often it is seen whether what is kept for others is free again, in ms. */
const lookMs = 250;

interface Sent {
  requests: number;
  /** Those that brought nothing: answered with an error, or not at all. */
  inVain: number;
  /** Tokens with which nothing has been asked yet. */
  tokens: number;
}

const nothing: Readonly<Sent> = { requests: 0, inVain: 0, tokens: 0 };

/** What each address has sent lately: in this window of the guard, and in the one before. */
class Senders {
  readonly #windowMs: number;
  #window = 0;
  #now = new Map<string, Sent>();
  #before = new Map<string, Sent>();

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** `turn` is the one whose turn the request had: its client, or another that waits for the same. */
  sent({ kind, purpose }: QuotaRequest, turn: Party, elapsed: number): void {
    this.#add(turn.address, "requests", elapsed);
    if (kind === "token") this.#add(purpose.address, "tokens", elapsed);
  }

  /** Call it with all that was sent. */
  ended({ kind, purpose }: QuotaRequest, turn: Party, isInVain: boolean, elapsed: number): void {
    // Who only had to wait for it did not want it.
    const wanted = new Set([purpose.address, turn.isBehind ? undefined : turn.address]);
    if (isInVain) for (const address of wanted) this.#add(address, "inVain", elapsed);
    if (purpose.address === undefined || (kind === "token" && !isInVain)) return;
    this.#advance(elapsed);
    const since = [this.#before, this.#now].map((sent) => sent.get(purpose.address ?? ""));
    const open = since.find((sent) => sent && sent.tokens > 0);
    if (open) open.tokens -= 1;
  }

  count(address: string, what: keyof Sent, elapsed: number): number {
    this.#advance(elapsed);
    return (this.#now.get(address) ?? nothing)[what] + (this.#before.get(address) ?? nothing)[what];
  }

  #add(address: string | undefined, what: keyof Sent, elapsed: number): void {
    if (address === undefined) return;
    this.#advance(elapsed);
    this.#now.getOrInsertComputed(address, () => ({ ...nothing }))[what] += 1;
  }

  #advance(elapsed: number): void {
    const window = Math.floor(elapsed / this.#windowMs);
    if (window === this.#window) return;
    this.#before = window === this.#window + 1 ? this.#now : new Map();
    this.#now = new Map();
    this.#window = window;
  }
}

/** A bucket that keeps to its limit over restarts. */
export class QuotaBucket implements Bucket {
  readonly #account: Account;
  readonly #balance: Balance;
  readonly #clock: Clock;
  readonly #maxWaitMs: number;
  /** Pulls, as the window allows them; a turn is over at once. */
  readonly #pulls: PriorityQueue;
  /** Requests of any kind, as the guard allows them; a turn lasts until the answer. */
  readonly #requests: PriorityQueue;
  readonly #senders: Senders;
  /** The requests that wait for a pull, by what ends their wait. */
  readonly #waitingForPull = new Map<AbortController, QuotaRequest>();
  #waiting = 0;
  #cancelWake = (): void => {};

  /** See {@link openBucket}. */
  constructor(options: BucketOptions, minIntervalMs: number, account: Account) {
    const { concurrency, maxWaitMs, clock, beside } = options;
    const { balance } = account;
    this.#account = account;
    this.#balance = balance;
    this.#clock = clock;
    this.#maxWaitMs = Math.max(maxWaitMs, leastWaitMs);
    this.#senders = beside ? beside.#senders : new Senders(balance.guard.allowance.windowMs);
    this.#pulls = new PriorityQueue({
      most: Number.POSITIVE_INFINITY,
      minTime: minIntervalMs,
      clock,
    });
    this.#requests = new PriorityQueue({
      most: concurrency,
      minTime: 0,
      mayBegin: (address, priority) => this.#mayRequest(address, priority === priorities.token),
      clock,
    });
  }

  async take(request: QuotaRequest, caller?: AbortSignal): Promise<Permit> {
    const signal = endOf(request, caller);
    signal?.throwIfAborted();
    const started = this.#clock.elapsed();
    const wait = new AbortController();
    const leave = (): void => wait.abort(signal?.reason);
    const tooLong = (): void => wait.abort(busy(this.#balance.owner, this.#maxWaitMs));
    const cancel = this.#clock.after(this.#maxWaitMs, tooLong);
    signal?.addEventListener("abort", leave, { once: true });
    this.#waiting += 1;
    try {
      const permit = await this.#admit(request, wait);
      this.#granted(request, this.#clock.elapsed() - started);
      return permit;
    } catch (error) {
      if (error instanceof QuotaError) this.#account.refuse(request, error);
      throw error;
    } finally {
      this.#waiting -= 1;
      cancel();
      signal?.removeEventListener("abort", leave);
      this.#advance();
    }
  }

  refusal(request: QuotaRequest): QuotaError | undefined {
    const verdict = this.#balance.verdict(request);
    if (!(verdict instanceof QuotaError)) return undefined;
    this.#account.refuse(request, verdict);
    return verdict;
  }

  learnToken(token: string): void {
    this.#account.learnToken(token);
    this.#advance();
  }

  get state(): BucketState {
    return this.#balance.state;
  }

  get rehearsal(): Rehearsal | undefined {
    return this.#balance.rehearsal;
  }

  /** See {@link BucketOptions.beside}. */
  get shared(): SharedByAddress {
    return this.#balance;
  }

  /** One row of `GET /api/v1/quota`. */
  snapshot(): Snapshot {
    return this.#balance.snapshot(this.#waiting);
  }

  /** Calls `listener` with each event until the returned function is called. */
  on(listener: QuotaListener): () => void {
    return this.#account.on(listener);
  }

  /** Counts what was served without a request to the upstream; in memory until the next {@link maintain}. */
  saved(pulls: number, bytes: number): void {
    this.#account.saved(pulls, bytes);
  }

  /** Pulls that new images may spend, once all under way is answered. */
  get left(): number {
    return this.#balance.left;
  }

  /** Is something set aside for images of `repository`? Then {@link foundHeld} is to be called for what is found held of one. */
  isSetAside(repository: Repository): boolean {
    return this.#balance.setAsides.has(repository);
  }

  /** `held` is part of these: what was set aside for it is given back. */
  foundHeld(repository: Repository, held: Digest, partOf: readonly Digest[]): void {
    this.#balance.setAsides.foundHeld(repository, held, partOf);
    this.#advance();
  }

  /** The image that begins with `digest` does not come whole: others may have what was set aside for it. */
  giveUp(repository: Repository, digest: Digest): void {
    this.#account.giveUp(repository, [digest]);
    this.#advance();
  }

  /** Behaves as if the upstream were empty or down until `untilMs` on the wall clock; a time gone by ends that. */
  rehearse(mode: RehearsalMode, untilMs: number): void {
    this.#account.rehearse(mode, untilMs);
    this.#advance();
  }

  /** May the HEAD of any manifest, which costs nothing, bring good news? True at most once in ten seconds. */
  worthAsking(): boolean {
    return this.#account.worthAsking();
  }

  /** To be called each minute: sends a `sample`, saves what is in memory, and adds up what is old. */
  async maintain(): Promise<void> {
    await this.#account.maintain(this.#waiting);
  }

  /** Saves the bucket, of which nothing may be taken any more. */
  async close(): Promise<void> {
    this.#cancelWake();
    await this.#account.close();
  }

  async #admit(request: QuotaRequest, wait: AbortController): Promise<Permit> {
    const { signal } = wait;
    for (;;) {
      let reservation = await this.#reserve(request, wait);
      let end: (() => void) | undefined;
      let isAdmitted = false;
      let turn: Party = request.purpose;
      try {
        end = await this.#turn(this.#requests, request, signal, (whose) => {
          turn = whose;
          const stop = this.#balance.stop(request);
          if (stop) throw stop;
          reservation ??= this.#account.reserve(request);
          isAdmitted = this.#account.admit(reservation);
          this.#senders.sent(request, turn, this.#clock.elapsed());
        });
        if (reservation && isAdmitted) {
          await this.#account.begin(reservation);
          signal.throwIfAborted();
          return this.#permit(reservation, turn, end);
        }
      } catch (error) {
        this.#abandon(reservation, end);
        throw error;
      }
      // The upstream has said meanwhile that less is left: it waits for a pull again.
      this.#abandon(reservation, end);
    }
  }

  /** The guard's last requests are for addresses that have sent few, and few in vain, so that no one sends them all. */
  #mayRequest(address: string, isForToken: boolean): boolean {
    const { guard, guardTokens } = this.#balance;
    if (address === "" || guardTokens < 1) return guardTokens >= 1;
    const { limit = 0 } = guard.allowance;
    const count = (what: keyof Sent): number => this.#senders.count(address, what, this.#clock.elapsed());
    // A token is paid for before it can be seen whether it is of any use.
    const inVain = count("inVain") + (isForToken ? count("tokens") : 0);
    if (guardTokens <= limit * keptFromVain && inVain >= Math.max(1, limit * fewInVain)) return false;
    return guardTokens > limit * keptForFew || count("requests") < (limit * keptForFew) / 2;
  }

  /** Sets aside what `request` costs when its turn comes; undefined when it costs nothing. @throws QuotaError */
  async #reserve(request: QuotaRequest, wait: AbortController): Promise<Reservation | undefined> {
    for (;;) {
      const verdict = this.#verdict(request);
      if (verdict instanceof QuotaError) throw verdict;
      if (costOf(request.kind) === 0) return undefined;
      if (this.#pulls.waitMs >= this.#maxWaitMs) {
        throw busy(this.#balance.owner, this.#maxWaitMs);
      }
      this.#waitingForPull.set(wait, request);
      let reservation: Reservation | undefined;
      try {
        const begin = (): void => {
          this.#waitingForPull.delete(wait);
          if (this.#balance.verdict(request) === "now") reservation = this.#account.reserve(request);
        };
        const isReady = (): boolean => this.#balance.isEnoughFor(request);
        const end = await this.#turn(this.#pulls, request, wait.signal, begin, isReady);
        end();
      } finally {
        this.#waitingForPull.delete(wait);
      }
      if (reservation) return reservation;
    }
  }

  /** The balance's. When `request` is refused, its image does not come whole, so others may have what is set aside for it. */
  #verdict(request: QuotaRequest): ReturnType<Balance["verdict"]> {
    const verdict = this.#balance.verdict(request);
    const { repository, purpose } = request;
    const { image } = purpose;
    if (image && verdict instanceof QuotaError && verdict.kind === "exhausted")
      this.#account.giveUp(repository, [image.digest, ...image.partOf]);
    return verdict;
  }

  #turn(
    queue: PriorityQueue,
    request: QuotaRequest,
    signal: AbortSignal,
    begin: (party: Party) => void,
    isReady?: () => boolean,
  ): Promise<() => void> {
    const turn = queue.turn(priorityOf(request), request.purpose, signal, begin, isReady);
    // A wake-up may be needed now.
    this.#advance();
    return turn;
  }

  #abandon(reservation: Reservation | undefined, end: (() => void) | undefined): void {
    if (reservation) this.#account.release(reservation);
    end?.();
  }

  #permit(reservation: Reservation, turn: Party, end: () => void): Permit {
    let isOpen = true;
    let isInVain = true;
    const close = (settle: () => void): void => {
      if (!isOpen) return;
      isOpen = false;
      settle();
      this.#senders.ended(reservation.request, turn, isInVain, this.#clock.elapsed());
      end();
      this.#advance();
    };
    return {
      answered: (answer: QuotaAnswer) =>
        close(() => {
          isInVain = answer.status >= 400;
          this.#account.answered(reservation, answer);
        }),
      failed: () => close(() => this.#account.failed(reservation)),
    };
  }

  #granted({ kind, purpose: { reason } }: QuotaRequest, waitedMs: number): void {
    const { upstream } = this.#balance.owner;
    this.#account.emit({ type: "granted", upstream, reason, cost: costOf(kind), waitedMs });
  }

  /**
   * Begins in both queues what may begin now, refuses requests for which there will be nothing in time, and sets a timer for
   * when there will be more for the others.
   */
  #advance(): void {
    const setAsideMs = this.#balance.giveBack();
    const { tokens, guardTokens } = this.#balance;
    this.#pulls.advance();
    this.#requests.advance();
    if (tokens < mostOfImage) this.#refuseWaiting();
    this.#cancelWake();
    const soon: number[] = [];
    if (this.#pulls.waiting > 0 && tokens < mostOfImage) soon.push(this.#balance.pullFreeInMs ?? 0);
    if (this.#requests.waiting > 0)
      soon.push(guardTokens < 1 ? (this.#balance.requestFreeInMs ?? 0) : lookMs);
    const waits = soon.filter((ms) => ms > 0 && ms <= this.#maxWaitMs);
    const inMs = Math.min(setAsideMs, ...waits);
    if (inMs < Number.POSITIVE_INFINITY)
      this.#cancelWake = this.#clock.after(inMs + 1, () => this.#advance());
  }

  #refuseWaiting(): void {
    for (const [wait, request] of this.#waitingForPull) {
      const verdict = this.#verdict(request);
      if (verdict instanceof QuotaError) wait.abort(verdict);
    }
  }
}
