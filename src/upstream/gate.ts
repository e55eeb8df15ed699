/** The gate: every request to a registry or its token service passes here, is paid for, and teaches us something. */
import { QuotaError, type Bucket, type QuotaRequest, type Permit, type RequestKind } from "../quota/quota.ts";
import { inStep, type TraceStep } from "../async/step.ts";
import { UpstreamError } from "./error.ts";
import { abusePauseSeconds } from "./fault.ts";
import type { Health } from "./health.ts";
import { findRetryAfter, retryAfterIn } from "./retryAfter.ts";
import { discard, readBody, type Reply } from "./net/wire.ts";

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
  return new UpstreamError("limited", message, { status, retryAfter });
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
