/** What is written down of every request: one log line, the metrics, what it has saved, its trace and its audit line. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { anonymousClient, type ClientIdentity } from "../mirror/identity.ts";
import { patienceMs, type PullContext, type Outcome } from "../mirror/context.ts";
import type { Digest } from "../oci/digest.ts";
import { formatImage, formatRepository, type Repository } from "../oci/reference.ts";
import type { Target } from "../oci/target.ts";
import type { TraceStep } from "../async/step.ts";
import type { Audit } from "../telemetry/audit.ts";
import type { Log } from "../telemetry/log.ts";
import type { Failures } from "../telemetry/failures.ts";
import type { Tracing } from "../telemetry/tracing.ts";
import { bytesBySendfile } from "./sendfile.ts";
import type { RequestSums } from "./requestSums.ts";

/** A node's name as Kubernetes allows it (RFC 1123 subdomain); anything else in the header is not a name. */
const nodeName = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/** Where a request is written down. */
export interface RecordSinks {
  readonly log: Log;
  readonly sums: RequestSums;
  readonly failures: Failures;
  /** While pulls are traced. */
  readonly tracing?: Tracing;
  /** While pulls are audited. */
  readonly audit?: Audit;
  /** The client's address, where it is not that of the connection. */
  readonly addressOf?: (incoming: IncomingMessage) => string | undefined;
}

/** The name by which a client is known: its node's, or else its address. */
export function clientOf(incoming: IncomingMessage, address = incoming.socket.remoteAddress): string {
  return nodeOf(incoming) ?? address ?? "unknown";
}

function nodeOf({ headers: { "x-hubcap-node": node } }: IncomingMessage): string | undefined {
  return typeof node === "string" && nodeName.test(node) ? node : undefined;
}

/** One request, from its first byte until its connection is done with it. */
export class RequestRecord {
  readonly context: PullContext;
  outcome: Outcome | "error" = "error";
  /** The bytes of the content that was found, as far as they are known. */
  size: number | undefined;
  /** The digest that a tag turned out to mean. */
  digest: Digest | undefined;
  /** Set for an answer that is an error: why. */
  reason: string | undefined;
  readonly #started = performance.now();
  readonly #incoming: IncomingMessage;
  readonly #outgoing: ServerResponse;
  readonly #node: string | undefined;
  readonly #address: string | undefined;
  readonly #books: RecordSinks;
  readonly #sentBefore: number;
  #target: Target | undefined;
  #span: TraceStep | undefined;

  constructor(incoming: IncomingMessage, outgoing: ServerResponse, books: RecordSinks) {
    const { "user-agent": userAgent = "" } = incoming.headers;
    this.#node = nodeOf(incoming);
    // Of a connection that has ended, nobody knows any more.
    this.#address = books.addressOf ? books.addressOf(incoming) : incoming.socket.remoteAddress;
    this.context = {
      client: clientOf(incoming, this.#address),
      address: this.#address,
      userAgent: userAgent.slice(0, 256),
      head: incoming.method === "HEAD",
      deadline: performance.now() + patienceMs,
      upstreamMs: 0,
    };
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    this.#books = books;
    this.#sentBefore = incoming.socket.bytesWritten;
    outgoing.on("close", () => this.#write(incoming.socket.bytesWritten));
  }

  /** What is asked for, as far as the request could be read. */
  get target(): Target | undefined {
    return this.#target;
  }

  /** The request could be read: it asks for `target`. */
  begin(target: Target): void {
    this.#target = target;
    if (target.kind === "ping") return;
    const { tracing } = this.#books;
    if (tracing) this.#trace(tracing, target.kind);
  }

  #trace(tracing: Tracing, kind: string): void {
    const { method = "", headers } = this.#incoming;
    const { traceparent, tracestate } = headers;
    const { client, userAgent } = this.context;
    this.#span = tracing.begin(
      `pull ${kind}`,
      { traceparent, tracestate },
      {
        "http.request.method": method,
        "user_agent.original": userAgent,
        "hubcap.client": client,
      },
    );
    this.context.trace = this.#span;
  }

  #write(sent: number): void {
    const { target, context: ask, outcome } = this;
    const { log, sums, failures, audit } = this.#books;
    const kind = target?.kind ?? "unknown";
    const reference = target && referenceOf(target);
    const ms = performance.now() - this.#started;
    // What went over the connection, headers included: that is what a client that left half-way has cost.
    const bytes = sent - this.#sentBefore + bytesBySendfile(this.#outgoing);
    const repository = target && "repository" in target ? target.repository : undefined;
    const upstream = repository?.upstream ?? "";
    sums.add({
      upstream,
      kind,
      outcome,
      seconds: [Math.round(ms * 1000) / 1e6],
      bytes,
      ...this.#saved(bytes),
    });
    this.#fail(failures);
    const { statusCode: status, writableFinished: complete } = this.#outgoing;
    // What is undefined is left out of the line.
    log.info(
      {
        client: ask.client,
        identity: identityOf(ask.identity),
        userAgent: ask.userAgent,
        method: this.#incoming.method,
        kind,
        upstream: repository?.upstream,
        repository: repository && formatRepository(repository),
        reference,
        status,
        outcome,
        denied: ask.denied,
        reason: this.reason,
        bytes,
        cut: complete ? undefined : true,
        ms: Math.round(ms * 10) / 10,
        upstreamMs: Math.round(ask.upstreamMs),
      },
      "request",
    );
    if (target?.kind === "ping") return;
    const end = { kind, repository, reference, status, complete, bytes, ms };
    if (this.#span) this.#finish(this.#span, end);
    if (audit) this.#record(audit, end);
  }

  #finish(span: TraceStep, { repository, reference, status, complete, bytes }: End): void {
    span.note({
      ...(repository && {
        "hubcap.upstream": repository.upstream,
        "hubcap.repository": repository.name,
      }),
      ...(reference !== undefined && { "hubcap.reference": reference }),
      ...(this.digest !== undefined && { "hubcap.digest": this.digest }),
      "hubcap.outcome": this.outcome,
      "hubcap.bytes": bytes,
      "hubcap.complete": complete,
      "http.response.status_code": status,
    });
    span.end(this.reason === undefined ? undefined : new Error(this.reason));
  }

  #record(audit: Audit, { kind, repository, reference, status, complete, bytes, ms }: End): void {
    const { client, userAgent, identity: asker, denied } = this.context;
    audit.write({
      client,
      address: this.#address,
      node: this.#node,
      identity: identityOf(asker),
      userAgent,
      method: this.#incoming.method,
      kind,
      upstream: repository?.upstream,
      repository: repository?.name,
      reference,
      digest: this.digest,
      outcome: this.outcome,
      status,
      complete,
      bytes,
      durationMs: Math.round(ms * 10) / 10,
      reason: this.reason,
      denied,
    });
  }

  /** What the client got without the upstream being asked for it: a manifest is a pull, a blob only its bytes. */
  #saved(sent: number): { readonly savedPulls?: number; readonly savedBytes?: number } {
    const { target, context: ask, outcome, size = sent } = this;
    const isHeld = outcome === "hit" || outcome === "join" || outcome === "stale";
    if (!isContent(target) || !isHeld || ask.head || this.#outgoing.statusCode >= 300) return {};
    return { savedPulls: target.kind === "manifest" ? 1 : 0, savedBytes: Math.min(sent, size) };
  }

  #fail(failures: Failures): void {
    const { target, context: ask, reason } = this;
    if (reason === undefined || !target || !isContent(target)) return;
    const image = formatImage(target.repository, target.kind === "blob" ? target.digest : target.reference);
    failures.note({ client: ask.client, image, status: this.#outgoing.statusCode, reason });
  }
}

function isContent(target: Target | undefined): target is Target & { kind: "manifest" | "blob" } {
  return target?.kind === "manifest" || target?.kind === "blob";
}

/** How a request ended. */
interface End {
  readonly kind: string;
  readonly repository: Repository | undefined;
  readonly reference: string | undefined;
  readonly status: number;
  readonly complete: boolean;
  readonly bytes: number;
  readonly ms: number;
}

/** By what a client was known, in the words of the rules. */
function identityOf({ token, user, certificate }: ClientIdentity = anonymousClient): string | undefined {
  if (token !== undefined) return `token:${token}`;
  if (user !== undefined) return `user:${user}`;
  const [name] = certificate ?? [];
  return name === undefined ? undefined : `certificate:${name}`;
}

function referenceOf(target: Target): string | undefined {
  switch (target.kind) {
    case "manifest":
      return target.reference;
    case "blob":
      return target.digest;
    case "referrers":
      return target.subject;
    case "tags":
    case "ping":
      return undefined;
  }
}
