/** The model that a bucket is checked against: an upstream that counts, a clock that can be wrong, a process that is killed. */
import { Account, type AccountOptions, type Reservation } from "../../../src/quota/account.ts";
import { knownLimits } from "../../../src/quota/limits.ts";
import { parseRepositoryName } from "../../../src/oci/reference.ts";
import type { QuotaRequest, Reason, RequestKind } from "../../../src/quota/quota.ts";
import { FakeLedger } from "../../support/fakeLedger.ts";

export const windowMs = 60_000;

const name = parseRepositoryName("library/nginx");
if (!name) throw new Error("unreachable");
const nginx = { upstream: "docker.io", name };

export function requestOf(kind: RequestKind, reason: Reason = "pull", client = "node-1"): QuotaRequest {
  return {
    kind,
    repository: nginx,
    what: kind.startsWith("manifest") ? "manifest library/nginx:1" : `${kind} of library/nginx`,
    purpose: { reason, client, payer: client, userAgent: "containerd/2.3.4" },
  };
}

/** The same of a client at `address`. */
export function requestFrom(address: string, kind: RequestKind): QuotaRequest {
  const { purpose, ...request } = requestOf(kind, "pull", address);
  return { ...request, purpose: { ...purpose, address } };
}

/** A request under way. `answer` is there once the upstream has made one. */
export interface Flight {
  readonly reservation: Reservation;
  /** Hubcap knew of all that others spent. */
  readonly wasInformed: boolean;
  readonly sentAt: number;
  answer: { status: number; headers: Record<string, string>; madeAt: number } | undefined;
}

export interface WorldOptions {
  readonly limit: number;
  /** Whether answers say what is left. */
  readonly hasHeaders: boolean;
}

export class World {
  readonly ledger = new FakeLedger();
  readonly flights: Flight[] = [];
  readonly #hasHeaders: boolean;
  limit: number;
  /** True time in ms, which only the upstream sees. */
  time = 0;
  #wallError = 0;
  #bootedAt = 0;
  /** Moments, in order, at which the upstream counted something. */
  #counted: number[] = [];
  /** Numbers every event, since several happen at the same time. */
  #turn = 0;
  #othersAt = 0;
  #heardAt = 0;
  #account: Account | undefined;

  constructor({ limit, hasHeaders }: WorldOptions) {
    this.limit = limit;
    this.#hasHeaders = hasHeaders;
  }

  get account(): Account {
    if (!this.#account) throw new Error("not started");
    return this.#account;
  }

  get wall(): number {
    return Date.UTC(2026, 10, 22) + this.time + this.#wallError;
  }

  /** What the upstream would say is left. */
  get remaining(): number {
    return Math.max(0, this.limit - this.#live);
  }

  get #live(): number {
    this.#counted = this.#counted.filter((at) => at >= this.time - windowMs);
    return this.#counted.length;
  }

  async start(more: Partial<AccountOptions> = {}): Promise<Account> {
    this.#bootedAt = this.time;
    this.#account = await Account.open({
      upstream: "docker.io",
      account: "cluster",
      preset: knownLimits("docker.io", true),
      quota: { limit: this.limit, windowMs },
      reserve: 0.1,
      low: 0.3,
      maxWaitMs: 15_000,
      ledger: this.ledger,
      clock: { now: () => this.wall, elapsed: () => this.time - this.#bootedAt },
      ...more,
    });
    return this.#account;
  }

  /** Kills Hubcap; some of what was under way arrives all the same. */
  async restart(downMs: number, arrives: (index: number) => boolean): Promise<void> {
    for (const [index, flight] of this.flights.entries()) if (arrives(index)) this.deliver(flight);
    this.flights.length = 0;
    this.time += downMs;
    await this.start();
  }

  jump(ms: number): void {
    this.#wallError += ms;
  }

  /** Sends a request if Hubcap allows it. */
  async send(kind: RequestKind): Promise<Flight | undefined> {
    if (this.account.balance.verdict(requestOf(kind)) !== "now") return undefined;
    const wasInformed = this.#heardAt >= this.#othersAt;
    const reservation = this.account.reserve(requestOf(kind));
    this.account.admit(reservation);
    await this.account.begin(reservation);
    const flight: Flight = { reservation, wasInformed, sentAt: (this.#turn += 1), answer: undefined };
    this.flights.push(flight);
    return flight;
  }

  /** The upstream counts and answers. @throws when Hubcap should have known that nothing is left. */
  deliver(flight: Flight, found: "yes" | "no" | "no, but counted" = "yes"): void {
    if (flight.answer) return;
    const isPull = flight.reservation.request.kind === "manifest-get";
    const isFull = this.#live >= this.limit;
    if (isPull && isFull && flight.wasInformed && flight.sentAt > this.#othersAt) {
      throw new Error(`over the limit of ${this.limit} at ${this.time}`);
    }
    if (isPull && !isFull && found !== "no") this.#counted.push(this.time);
    const headers = this.#hasHeaders
      ? {
          "ratelimit-limit": `${this.limit};w=${windowMs / 1000}`,
          "ratelimit-remaining": `${this.remaining};w=${windowMs / 1000}`,
        }
      : {};
    flight.answer = {
      status: isPull && isFull ? 429 : found === "yes" ? 200 : 404,
      headers,
      madeAt: (this.#turn += 1),
    };
  }

  /** Hubcap gets the answer. */
  answer(flight: Flight): void {
    this.deliver(flight);
    this.#land(flight);
    if (!flight.answer) return;
    if (this.#hasHeaders) this.#heardAt = Math.max(this.#heardAt, flight.answer.madeAt);
    this.account.answered(flight.reservation, flight.answer);
  }

  answerAll(): void {
    for (const flight of this.flights.slice()) this.answer(flight);
  }

  /** Hubcap never gets an answer, though the upstream may have counted. */
  lose(flight: Flight, arrives: boolean): void {
    if (arrives) this.deliver(flight);
    this.#land(flight);
    this.account.failed(flight.reservation);
  }

  /** Another client of the same account spends. */
  spendElsewhere(pulls: number): void {
    for (let left = Math.min(pulls, this.remaining); left > 0; left -= 1) this.#counted.push(this.time);
    this.#othersAt = this.#turn += 1;
  }

  changeLimit(limit: number): void {
    this.limit = limit;
    this.#othersAt = this.#turn += 1;
  }

  async ask(): Promise<void> {
    const head = await this.send("manifest-head");
    if (head) this.answer(head);
  }

  #land(flight: Flight): void {
    this.flights.splice(this.flights.indexOf(flight), 1);
  }
}
