/** A stand-in for Docker Hub: registry, token service and CDN at three origins, honest until a fault is set. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as wait } from "node:timers/promises";
import { Faults, abuseFault, bareAbuseFault, type ActiveFault, type Fault } from "./faults.ts";
import type { KeyAndCertificate } from "./certificates.ts";
import { Accounts, type Account } from "./hub/accounts.ts";
import type { Answer } from "./hub/answer.ts";
import { SignedPaths, cdnAnswer } from "./hub/cdn.ts";
import { runHubCommand } from "./hub/command.ts";
import { AbuseGuard, PullWindows, type Limit } from "./hub/limit.ts";
import { Origin } from "./hub/origin.ts";
import { registryAnswer, type RegistryBehaviour } from "./hub/registry.ts";
import { HubCounts, recordOf, type HubRequest, type OriginName } from "./hub/requests.ts";
import { GoneError, heldOrGone, resetConnection, send, sendRaw } from "./hub/send.ts";
import { Shelf } from "./hub/shelf.ts";
import { insteadOf, spoilt } from "./hub/spoil.ts";
import { tokenAnswer } from "./hub/tokenService.ts";
import type { Bundle } from "./images.ts";

export interface HubOptions {
  /** Anonymous pulls per window and address. Default 100. */
  readonly limit?: Limit;
  /** The window in seconds. Default 21600. */
  readonly window?: number;
  readonly accounts?: Readonly<Record<string, Account>>;
  /** Wrong passwords until a user name is locked. Default 5. */
  readonly failuresAllowed?: number;
  /** How people sign in. Default `bearer`. */
  readonly auth?: RegistryBehaviour["auth"];
  /** Seconds that tokens are valid for. Default 300. */
  readonly tokenTtl?: number;
  /** The clock, in ms since the epoch. Default the system's; {@link Hub.advance} moves either. */
  readonly now?: () => number;
  readonly tls?: KeyAndCertificate;
  /** The host name in the origins' URLs. Default `127.0.0.1`. */
  readonly host?: string;
  /** The ports to listen on; 0 and the default take any free one. */
  readonly ports?: Readonly<Partial<Record<OriginName, number>>>;
}

export class Hub {
  readonly registry: Origin;
  readonly tokenService: Origin;
  readonly cdn: Origin;
  /** What was asked. */
  readonly counts = new HubCounts();
  readonly faults = new Faults();
  /** What may be changed while it runs. */
  readonly behaviour: RegistryBehaviour;
  readonly abuse: AbuseGuard;
  /** Whether the abuse limit answers in the malformed way of 2020. */
  bareAbuse = false;
  tokenTtl: number;
  readonly shelf = new Shelf();
  readonly accounts: Accounts;
  readonly #windows: PullWindows;
  readonly #paths: SignedPaths;
  readonly #clock: () => number;
  #ahead = 0;
  #anonymousLimit: Limit;

  constructor(options: HubOptions = {}) {
    this.#clock = options.now ?? Date.now;
    this.#anonymousLimit = options.limit ?? 100;
    this.tokenTtl = options.tokenTtl ?? 300;
    const accounts = options.accounts ?? {};
    this.accounts = new Accounts(accounts, options.failuresAllowed ?? 5, this.now);
    this.#windows = new PullWindows({ seconds: options.window ?? 21_600, now: this.now }, (key) =>
      key in accounts ? this.accounts.limitOf(key) : this.#anonymousLimit,
    );
    this.#paths = new SignedPaths(this.now);
    this.abuse = new AbuseGuard(this.now);
    const origin = (name: OriginName): Origin =>
      new Origin(
        { tls: options.tls, host: options.host ?? "127.0.0.1", port: options.ports?.[name] ?? 0 },
        (request, response) => {
          void this.#serve(name, request, response);
        },
      );
    this.registry = origin("registry");
    this.tokenService = origin("token");
    this.cdn = origin("cdn");
    this.behaviour = {
      auth: options.auth ?? "bearer",
      redirect: true,
      referrers: true,
      pageSize: 1000,
      realm: "",
    };
  }

  /** Now by the stand-in's clock, in ms since the epoch. */
  readonly now = (): number => this.#clock() + this.#ahead;

  /** Moves the clock. */
  advance(ms: number): void {
    this.#ahead += ms;
  }

  async start(): Promise<void> {
    await Promise.all([this.registry.up(), this.tokenService.up(), this.cdn.up()]);
    this.behaviour.realm = `${this.tokenService.url}/token`;
  }

  async stop(): Promise<void> {
    this.faults.clear();
    await Promise.all([this.registry.down(), this.tokenService.down(), this.cdn.down()]);
  }

  /** The registry's address. */
  get url(): string {
    return this.registry.url;
  }

  push(bundle: Bundle, repository: string, tag?: string): void {
    this.shelf.push(bundle, repository, tag);
  }

  /** Sets a fault. */
  fault(fault: Fault): ActiveFault {
    return this.faults.add(fault);
  }

  /** Sets the limit of an account, or of everybody without one. */
  setLimit(limit: Limit, account?: string): void {
    if (account === undefined) {
      this.#anonymousLimit = limit;
    } else {
      this.#windows.setLimit(account, limit);
    }
  }

  /** Spends pulls as another consumer of the account (by default of this address) would. */
  consume(pulls: number, account?: string): void {
    this.#windows.consume(account ?? "127.0.0.1", pulls);
  }

  /** Pulls spent within the window, those of {@link consume} included. */
  spent(account?: string): number {
    return this.#windows.spent(account ?? "127.0.0.1");
  }

  /** Pulls left; Infinity without a limit. */
  remaining(account?: string): number {
    return this.#windows.remaining(account ?? "127.0.0.1");
  }

  /** When the next pull is free, in ms of the stand-in's clock. */
  nextFreeAt(account?: string): number {
    return this.#windows.nextFreeAt(account ?? "127.0.0.1");
  }

  async #serve(name: OriginName, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const record = recordOf(name, request, this.now());
    this.counts.add(record);
    response.on("error", () => {});
    response.on("close", () => this.counts.end(record));
    try {
      await this.#answer(record, request, response);
    } catch (error) {
      if (!(error instanceof GoneError) && !response.headersSent) {
        const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
        response.writeHead(500, { "content-type": "text/plain" }).end(`the stand-in is broken: ${reason}`);
      } else {
        response.destroy();
      }
    }
  }

  async #answer(record: HubRequest, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const form = request.method === "POST" ? await bodyOf(request) : "";
    const struck = this.faults.strike(record) ?? this.#abused(record);
    const fault = struck?.fault;
    record.fault = fault?.kind;
    if (fault?.kind === "raw") {
      await sendRaw(response, fault.bytes);
      return;
    }
    const instead = fault === undefined ? undefined : insteadOf(fault);
    if (instead !== undefined) {
      await send(response, record, instead, undefined);
      return;
    }
    if (struck !== undefined && fault?.kind === "hang") {
      await heldOrGone(struck.hold(), response);
    }
    if (fault?.kind === "delay") {
      await heldOrGone(wait(fault.ms, undefined, { ref: false }), response);
    }
    const honest = this.#honest(record, form);
    if (fault?.kind === "reset" && fault.after === undefined) {
      resetConnection(response);
      return;
    }
    await send(response, record, fault === undefined ? honest : await spoilt(honest, fault), struck);
  }

  #abused(record: HubRequest): ActiveFault | undefined {
    return this.abuse.admit(record.remote)
      ? undefined
      : new Faults().add(this.bareAbuse ? bareAbuseFault : abuseFault);
  }

  #honest(record: HubRequest, form: string): Answer {
    const parts = { shelf: this.shelf, accounts: this.accounts, windows: this.#windows };
    if (record.origin === "cdn") {
      return cdnAnswer(this.shelf, this.#paths, record);
    }
    if (record.origin === "token") {
      return tokenAnswer({ ...parts, tokenTtl: () => this.tokenTtl, now: this.now }, record, form);
    }
    const cdnLocation = (digest: string): string => `${this.cdn.url}${this.#paths.sign(digest)}`;
    return registryAnswer({ ...parts, behaviour: this.behaviour, cdnLocation }, record);
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of request as AsyncIterable<Buffer>) {
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

/** A stand-in that listens. Stop it when done. */
export async function startHub(options: HubOptions = {}): Promise<Hub> {
  const hub = new Hub(options);
  await hub.start();
  return hub;
}

if (import.meta.main) {
  await runHubCommand(process.argv.slice(2), startHub);
}
