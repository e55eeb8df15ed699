/** The gate that every request to a registry or its token service passes: bucket before, health and headers after. */
import type { Clock } from "../async/clock.ts";
import { SingleFlight, unlessAborted } from "../async/concurrency.ts";
import { inStep, type TraceStep } from "../async/step.ts";
import type { Repository } from "../oci/reference.ts";
import { readRetryAfter, type Headers } from "../quota/limits.ts";
import { QuotaError, type Bucket, type QuotaRequest, type Permit, type RequestKind } from "../quota/quota.ts";
import { UpstreamError, abusePauseSeconds, diedIdle, isAboutConnection } from "./error.ts";
import type { Reply } from "./net/httpClient.ts";

/** One request, for metrics. `redirect` is a request to where the registry redirected. */
export interface Observation {
  readonly kind: RequestKind | "redirect";
  /** The HTTP status, or `error` when no answer came. */
  readonly status: number | "error";
  /** Milliseconds until the headers of the answer were there. */
  readonly ms: number;
}

interface GateOptions {
  /** The upstream's name, for messages. */
  readonly name: string;
  readonly bucket: Bucket;
  readonly health: Health;
  /** Asks the registry for its `/v2/`, which names nothing that a client chose, and waits so many ms. */
  readonly ping: (withinMs: number) => Promise<Reply>;
  readonly observe: (observation: Observation) => void;
  readonly clock: Clock;
}

/** What {@link Gate} asks on its own account, in no client's name. */
const own = { reason: "pull", client: "hubcap", payer: "hubcap", userAgent: "hubcap" } as const;

/** What a ping is about, in messages. */
export const pinged = "/v2/";

/** Between two requests of our own that find out whether an upstream is down. */
const probeAgainMs = 200;

/** The gate of one upstream. */
export class Gate {
  readonly #options: GateOptions;
  readonly #probes = new SingleFlight<void>();

  constructor(options: GateOptions) {
    this.#options = options;
  }

  /** Refuses at once what {@link pass} would not send. @throws UpstreamError */
  check(request: QuotaRequest): void {
    const refusal = this.#options.bucket.refusal(request);
    if (refusal) throw refused(refusal);
  }

  /**
   * The reply that `send` gets, if the bucket allows it: never a 429 or a 5xx. What dies on an idle connection is sent
   * once more, and paid for once more: a registry may have counted it.
   * @throws UpstreamError "limited" or "unreachable", whatever `send` throws, and the reason of `signal`.
   */
  pass(request: QuotaRequest, signal: AbortSignal | undefined, send: () => Promise<Reply>): Promise<Reply> {
    return twice(() => this.#pass(request, signal, send));
  }

  /** The same for a host that the registry redirected to: it costs nothing, and its health is not the upstream's. */
  passRedirected(send: () => Promise<Reply>, trace?: TraceStep): Promise<Reply> {
    return twice(async () => {
      const reply = await this.#observed("redirect", send, trace);
      if (reply.status === 429)
        throw limited(reply, (await readLimit(reply, this.#options.clock.now())).retryAfter);
      if (isBroken(reply.status)) throw this.#broken(reply);
      return reply;
    });
  }

  async #pass(
    request: QuotaRequest,
    signal: AbortSignal | undefined,
    send: () => Promise<Reply>,
  ): Promise<Reply> {
    const { name, bucket } = this.#options;
    const { kind, purpose } = request;
    const attempt = await this.#admit(request, signal);
    let permit: Permit;
    try {
      const facts = { "hubcap.upstream": name, "hubcap.request": kind, "hubcap.reason": purpose.reason };
      permit = await inStep(purpose.trace, "wait in bucket", facts, () => bucket.take(request, signal));
    } catch (error) {
      attempt.abandoned();
      throw error instanceof QuotaError ? refused(error) : error;
    }
    let reply: Reply;
    try {
      reply = await this.#observed(kind, send, purpose.trace);
    } catch (error) {
      if (error instanceof UpstreamError && error.kind === "limited") {
        permit.answered({ status: 429, headers: { "retry-after": String(error.retryAfter) }, abuse: true });
        attempt.succeeded();
      } else {
        permit.failed();
        // A caller that gave up says nothing about the upstream.
        if (error instanceof UpstreamError) attempt.failed(isAboutConnection(error));
      }
      throw error;
    }
    const { status, headers } = reply;
    if (status === 429) {
      const { abuse, pulls, retryAfter } = await readLimit(reply, this.#options.clock.now());
      const reported = retryAfter === undefined ? headers : { ...headers, "retry-after": String(retryAfter) };
      permit.answered({ status, headers: reported, abuse, pulls });
      attempt.succeeded();
      // Perhaps it is about what was requested alone.
      if (!abuse && !pulls) this.#suspect(request);
      // The bucket knows better than most upstreams when the next request makes sense.
      this.check(request);
      throw limited(reply, retryAfter);
    }
    permit.answered({ status, headers });
    if (!isBroken(status)) {
      attempt.succeeded();
      return reply;
    }
    attempt.failed();
    throw this.#broken(reply);
  }

  /** @throws UpstreamError "unreachable" when the upstream is down, or what is requested keeps failing. */
  async #admit(request: QuotaRequest, signal: AbortSignal | undefined): Promise<Attempt> {
    const { name, health } = this.#options;
    const { kind, what, repository } = request;
    if (kind !== "ping" && health.awaitsPing && !this.#probes.has("")) {
      const probe = this.#probe(repository);
      await (signal ? unlessAborted(probe, signal) : probe);
    }
    const attempt = health.admit(request);
    if (!attempt) {
      const who = health.knownDown ? `${name} does not answer` : `${name} keeps failing to give ${what}`;
      throw new UpstreamError("unreachable", `${who}; it is tried again every few seconds`);
    }
    return {
      ...attempt,
      failed: (ofConnection = false) => {
        attempt.failed(ofConnection);
        if (!ofConnection) this.#suspect(request);
      },
    };
  }

  /** A request has failed or was limited: finds out whether the upstream says so of itself, too. */
  #suspect({ kind, repository }: QuotaRequest): void {
    if (kind !== "ping" && this.#options.health.isWorthProbing()) void this.#probe(repository);
  }

  /**
   * Finds out whether the upstream answers at all, since what a client asks for may fail alone: until a request of our own is
   * answered, or so many were not that it is down.
   */
  #probe(repository: Repository): Promise<void> {
    const { health, ping, clock } = this.#options;
    const request = { kind: "ping", repository, purpose: own, what: pinged } as const;
    return this.#probes.join("", async () => {
      for (let tries = 0; tries < failuresUntilDown; tries += 1) {
        if (tries > 0) await clock.sleep(probeAgainMs);
        try {
          (await this.pass(request, undefined, () => ping(probeEveryMs))).discard();
          return;
        } catch (error) {
          // Too many requests are an answer, or leave that was not given.
          const isLimited = error instanceof UpstreamError && error.kind === "limited";
          if (isLimited || health.awaitsPing) return;
        }
      }
    });
  }

  async #observed(
    kind: Observation["kind"],
    send: () => Promise<Reply>,
    trace: TraceStep | undefined,
  ): Promise<Reply> {
    const { clock } = this.#options;
    const started = clock.elapsed();
    let status: number | "error" = "error";
    // No `traceparent` is sent: a registry must not see or choose our traces.
    const step = trace?.begin("upstream request", {
      "hubcap.upstream": this.#options.name,
      "hubcap.request": kind,
    });
    try {
      const reply = await send();
      status = reply.status;
      // Not the whole address: what a registry redirects to is signed in its query.
      step?.note({ "server.address": reply.url.host, "http.response.status_code": status });
      step?.end();
      return reply;
    } catch (error) {
      step?.end(error);
      throw error;
    } finally {
      this.#options.observe({ kind, status, ms: clock.elapsed() - started });
    }
  }

  #broken(reply: Reply): UpstreamError {
    reply.discard();
    const { status, url } = reply;
    const retryAfter = retryAfterIn(reply.headers, this.#options.clock.now());
    return new UpstreamError("unreachable", `${url.host} answered ${status}`, { status, retryAfter });
  }
}

/** What `send` gives, the second time if the first died on an idle connection. */
async function twice(send: () => Promise<Reply>): Promise<Reply> {
  try {
    return await send();
  } catch (error) {
    if (!diedIdle(error)) throw error;
    return send();
  }
}

// 501 is the answer of a healthy registry that does not know the request.
function isBroken(status: number): boolean {
  return status >= 500 && status !== 501;
}

function refused(error: QuotaError): UpstreamError {
  const { kind, message, retryAfter } = error;
  return new UpstreamError(kind === "down" ? "unreachable" : "limited", message, {
    retryAfter,
    cause: error,
  });
}

function limited({ url, status }: Reply, retryAfter: number | undefined): UpstreamError {
  const message = `${url.host} answered ${status}: too many requests`;
  return new UpstreamError("limited", message, { status, retryAfter, reason: "upstream-rate-limit" });
}

/** What a 429 says beside its status. Docker Hub's limit on requests of any kind is plain text, the one on pulls is JSON. */
async function readLimit(
  reply: Reply,
  now: number,
): Promise<{ abuse: boolean; pulls: boolean; retryAfter: number | undefined }> {
  let text = "";
  try {
    text = (await reply.read(64 * 1024, 5000)).toString();
  } catch {
    // The status is enough.
  }
  const type = String(reply.headers["content-type"] ?? "");
  const abuse = type.startsWith("text/plain") || text.includes("HAP429");
  const retryAfter = retryAfterIn(reply.headers, now) ?? findRetryAfter(text, now);
  const pulls = !abuse && /you have reached your (?:\w+ )?pull rate limit/i.test(text);
  return { abuse, pulls, retryAfter: abuse ? Math.max(retryAfter ?? 0, abusePauseSeconds) : retryAfter };
}

/** So many failures in a row, and the upstream is taken for down. */
const failuresUntilDown = 5;

/** While it is down, one request in this time is sent to find out. */
const probeEveryMs = 5000;

/** One request that was admitted. At most one of its methods is called; a probe that reports nothing does not count. */
interface Attempt {
  /** An answer came, whatever it said. */
  succeeded(): void;
  /** No answer came, or the upstream said that it is broken (5xx). `ofConnection`: there was not even a connection. */
  failed(ofConnection?: boolean): void;
  /** It was not sent after all. */
  abandoned(): void;
}

/** A circuit breaker: after {@link failuresUntilDown} failures in a row it lets one attempt through in {@link probeEveryMs}. */
export class Breaker {
  readonly #clock: Pick<Clock, "now">;
  #failures = 0;
  #isDown = false;
  #probedAt = Number.NEGATIVE_INFINITY;
  // Counted up when earlier attempts no longer matter, so that a late result changes nothing.
  #generation = 0;

  constructor(clock: Pick<Clock, "now">) {
    this.#clock = clock;
  }

  /** Failures in a row. */
  get failures(): number {
    return this.#failures;
  }

  get isDown(): boolean {
    return this.#isDown;
  }

  /** Leave to send a request; undefined while it is down and another request is finding out. */
  admit(): Attempt | undefined {
    if (this.#isDown) {
      const sinceProbe = this.#clock.now() - this.#probedAt;
      // A clock that went back must not keep it down.
      if (sinceProbe >= 0 && sinceProbe < probeEveryMs) return undefined;
      this.#probedAt = this.#clock.now();
      this.#generation += 1;
    }
    return this.#attempt(this.#generation);
  }

  #attempt(generation: number): Attempt {
    const report = (change: () => void) => () => {
      if (generation === this.#generation) change();
    };
    return {
      succeeded: report(() => {
        this.#failures = 0;
        if (this.#isDown) this.#generation += 1;
        this.#isDown = false;
      }),
      failed: report(() => {
        this.#failures += 1;
        if (this.#isDown || this.#failures < failuresUntilDown) return;
        this.#isDown = true;
        this.#probedAt = this.#clock.now();
        this.#generation += 1;
      }),
      abandoned: report(() => {
        this.#probedAt = Number.NEGATIVE_INFINITY;
      }),
    };
  }
}

/** So many things, and repositories, are remembered as failing. */
const mostFailing = 1000;

/**
 * The health of one upstream: its registry and token service, not the hosts that they redirect to. That they are down is known from
 * connections that cannot be made and from `/v2/` alone. Anything else may fail alone, and has a breaker of its own: otherwise
 * whoever asks for one broken path again and again would speak for the upstream.
 */
export class Health {
  readonly #clock: Pick<Clock, "now">;
  readonly #registry: Breaker;
  /** Fed by its connections alone: whether it gives a token depends on what that is for. */
  readonly #tokenService: Breaker;
  /** What was requested and has not been answered since it failed; the oldest goes first. */
  readonly #breakers = new Map<string, Breaker>();
  /** Repositories of which something has failed since they last gave an answer; the oldest goes first. */
  readonly #failing = new Set<string>();
  #probedAt = Number.NEGATIVE_INFINITY;

  constructor(clock: Pick<Clock, "now">) {
    this.#clock = clock;
    this.#registry = new Breaker(clock);
    this.#tokenService = new Breaker(clock);
  }

  /** Failures in a row that are the upstream's own. */
  get failures(): number {
    return Math.max(this.#registry.failures, this.#tokenService.failures);
  }

  get knownDown(): boolean {
    return this.#registry.isDown || this.#tokenService.isDown;
  }

  /** Whether nothing is admitted until a ping was answered. */
  get awaitsPing(): boolean {
    return this.#registry.isDown;
  }

  /** Whether the upstream, or what was last requested of `repository`, has failed and not been answered since. */
  isFailing({ name }: Repository): boolean {
    return this.failures > 0 || this.#failing.has(name);
  }

  /** Leave to send a request; undefined while what it is sent to is down, or what is requested keeps failing. */
  admit({ kind, what, repository: { name } }: Omit<QuotaRequest, "purpose">): Attempt | undefined {
    // How a ping goes is the registry's own doing.
    if (kind === "ping") return this.#registry.admit();
    if (this.awaitsPing) return undefined;
    const breaker = this.#breakers.get(what) ?? new Breaker(this.#clock);
    const alone = breaker.admit();
    const ofService = alone && (kind === "token" ? this.#tokenService : this.#registry).admit();
    if (!ofService) {
      alone?.abandoned();
      return undefined;
    }
    keepLast(this.#breakers, () => this.#breakers.set(what, breaker), what);
    return {
      succeeded: () => {
        alone.succeeded();
        ofService.succeeded();
        this.#breakers.delete(what);
        this.#failing.delete(name);
      },
      failed: (ofConnection) => {
        if (ofConnection) return ofService.failed();
        alone.failed();
        keepLast(this.#failing, () => this.#failing.add(name), name);
      },
      abandoned: () => {
        alone.abandoned();
        ofService.abandoned();
      },
    };
  }

  /** Whether it is time to find out if a failure was the upstream's own: once in {@link probeEveryMs}. */
  isWorthProbing(): boolean {
    const now = this.#clock.now();
    const since = now - this.#probedAt;
    if (since >= 0 && since < probeEveryMs) return false;
    this.#probedAt = now;
    return true;
  }
}

/** Adds `key` as the youngest. */
function keepLast(kept: Map<string, unknown> | Set<string>, add: () => void, key: string): void {
  kept.delete(key);
  add();
  const [oldest] = kept.keys();
  if (kept.size > mostFailing && oldest !== undefined) kept.delete(oldest);
}

/** A week: an upstream's wrong clock must not stop us for ever. */
const maxSeconds = 7 * 24 * 3600;

/** Whole seconds, rounded up and at least 1, that `Retry-After` asks to wait. `now` is in milliseconds since the epoch. */
export function retryAfterIn(headers: Headers, now: number): number | undefined {
  const ms = readRetryAfter(headers, now);
  return ms === undefined ? undefined : Math.min(Math.max(Math.ceil(ms / 1000), 1), maxSeconds);
}

/** The same, found in the text of an error body: `retry-after: 880.092µs, allowed: 44000/minute`. */
export function findRetryAfter(body: string, now: number): number | undefined {
  const found = /retry-after:[ \t]{0,8}([^\s,;"]{1,64})/i.exec(body);
  return found ? retryAfterIn({ "retry-after": found[1] }, now) : undefined;
}
