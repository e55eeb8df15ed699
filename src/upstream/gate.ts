/** The gate: every request to a registry or its token service passes here, is paid for, and teaches us something. */
import { QuotaError, type Bucket, type QuotaRequest, type Permit, type RequestKind } from "../quota/quota.ts";
import { inStep, type TraceStep } from "../async/step.ts";
import { UpstreamError, abusePauseSeconds, diedIdle } from "./error.ts";
import { discard, readBody, type Reply } from "./net/httpClient.ts";
import { readRetryAfter, type Headers } from "../quota/limits.ts";

/** One request, seen from outside. `redirect` is a request to where the registry sent us. */
export interface Observation {
  readonly kind: RequestKind | "redirect";
  /** The HTTP status, or `error` when no answer came. */
  readonly status: number | "error";
  /** Milliseconds until the headers of the answer were there. */
  readonly ms: number;
}

export interface GateOptions {
  /** The upstream's name, for messages. */
  readonly name: string;
  readonly bucket: Bucket;
  readonly health: Health;
  readonly observe: (observation: Observation) => void;
  readonly now: () => number;
}

/** Knows the bucket and the health of one upstream. */
export class Gate {
  readonly #options: GateOptions;

  constructor(options: GateOptions) {
    this.#options = options;
  }

  /** Refuses at once what {@link pass} would not send. @throws UpstreamError */
  check(errand: QuotaRequest): void {
    const refusal = this.#options.bucket.refusal(errand);
    if (refusal) throw refused(refusal);
  }

  /**
   * What `send` brings back, if it may be sent: never a 429 or a sign of a broken server.
   * @throws UpstreamError "limited" or "unreachable", whatever `send` throws, and the reason of `signal`.
   */
  async pass(
    errand: QuotaRequest,
    signal: AbortSignal | undefined,
    send: () => Promise<Reply>,
  ): Promise<Reply> {
    const { name, health, bucket } = this.#options;
    const { kind, purpose } = errand;
    const attempt = health.admit();
    if (!attempt)
      throw new UpstreamError("unreachable", `${name} does not answer; it is tried again every few seconds`);
    let permit: Permit;
    try {
      const facts = { "hubcap.upstream": name, "hubcap.request": kind, "hubcap.reason": purpose.reason };
      permit = await inStep(purpose.trace, "wait in bucket", facts, () => bucket.take(errand, signal));
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
        // A caller that lost patience says nothing about the upstream.
        if (error instanceof UpstreamError) attempt.failed();
      }
      throw error;
    }
    const { status, headers } = reply;
    if (status === 429) {
      const { abuse, retryAfter } = await readLimit(reply, this.#options.now());
      const told = retryAfter === undefined ? headers : { ...headers, "retry-after": String(retryAfter) };
      permit.answered({ status, headers: told, abuse });
      attempt.succeeded();
      // The books know better than most upstreams when asking again makes sense, and say it as for every refusal.
      this.check(errand);
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

  /** The same for a host that the registry redirected to: nothing is paid there, and its health is not the upstream's. */
  async passAside(send: () => Promise<Reply>, trace?: TraceStep): Promise<Reply> {
    const reply = await this.#observed("redirect", send, trace);
    if (reply.status === 429) throw limited(reply, (await readLimit(reply, this.#options.now())).retryAfter);
    if (isBroken(reply.status)) throw this.#broken(reply);
    return reply;
  }

  async #observed(
    kind: Observation["kind"],
    send: () => Promise<Reply>,
    trace: TraceStep | undefined,
  ): Promise<Reply> {
    const started = performance.now();
    let status: number | "error" = "error";
    // No `traceparent` goes along: a registry is a stranger, and has no business with the traces of this house.
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
      this.#options.observe({ kind, status, ms: performance.now() - started });
    }
  }

  #broken(reply: Reply): UpstreamError {
    discard(reply);
    const { status, url } = reply;
    const retryAfter = retryAfterIn(reply.headers, this.#options.now());
    return new UpstreamError("unreachable", `${url.host} answered ${status}`, { status, retryAfter });
  }
}

// 501 is an honest answer to a question that a healthy registry does not understand.
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
): Promise<{ abuse: boolean; retryAfter: number | undefined }> {
  let text = "";
  try {
    text = (await readBody(reply, 64 * 1024, 5000)).toString();
  } catch {
    // The status has said enough.
  }
  const type = String(reply.headers["content-type"] ?? "");
  const abuse = type.startsWith("text/plain") || text.includes("HAP429");
  const retryAfter = retryAfterIn(reply.headers, now) ?? findRetryAfter(text, now);
  return { abuse, retryAfter: abuse ? Math.max(retryAfter ?? 0, abusePauseSeconds) : retryAfter };
}

/** What `send` gives, or what it gives the second time when the first died on an idle connection. */
export async function again<T>(send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    if (!diedIdle(error)) throw error;
    return send();
  }
}

/** Whether an upstream is believed to be down, so that nobody waits for it in vain: a circuit breaker. */

/** So many failures in a row, and it is down. */
const failuresUntilDown = 5;

/** While it is down, one request in this time is let through to find out. */
const probeEveryMs = 5000;

/** One request that was let through. At most one of its methods is called; a probe that reports nothing is forgotten. */
export interface Attempt {
  /** An answer came, whatever it said. */
  succeeded(): void;
  /** No answer came, or the upstream said that it is broken (5xx). */
  failed(): void;
  /** It was not sent after all. */
  abandoned(): void;
}

/** The health of one upstream: its registry and its token service, not the hosts that they redirect to. */
export class Health {
  readonly #now: () => number;
  #failures = 0;
  #isDown = false;
  #probedAt = Number.NEGATIVE_INFINITY;
  // Goes up whenever earlier attempts stop mattering, so that a late result changes nothing.
  #generation = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Failures in a row. */
  get failures(): number {
    return this.#failures;
  }

  get knownDown(): boolean {
    return this.#isDown;
  }

  /** Leave to send a request, or undefined when the upstream is down and somebody else is finding out. */
  admit(): Attempt | undefined {
    if (this.#isDown) {
      const sinceProbe = this.#now() - this.#probedAt;
      // A clock that went back must not keep the upstream down.
      if (sinceProbe >= 0 && sinceProbe < probeEveryMs) return undefined;
      this.#probedAt = this.#now();
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
        this.#probedAt = this.#now();
        this.#generation += 1;
      }),
      abandoned: report(() => {
        this.#probedAt = Number.NEGATIVE_INFINITY;
      }),
    };
  }
}

/** A week: nobody waits longer, and a wrong clock upstream must not stop us for ever. */
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
