/** The record of a request: its log line, its metrics, what it saved, its trace and its audit line. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "../async/clock.ts";
import type { TraceStep } from "../async/step.ts";
import {
  anonymousClient,
  patienceMs,
  type ClientIdentity,
  type Outcome,
  type PullNotes,
  type PullRequest,
} from "../mirror/context.ts";
import type { Digest } from "../oci/digest.ts";
import { formatImage, formatRepository, type Repository } from "../oci/reference.ts";
import type { Target } from "../oci/target.ts";
import type { Audit } from "../telemetry/audit.ts";
import type { Failures } from "../telemetry/failures.ts";
import type { Log } from "../telemetry/log.ts";
import type { Tracing } from "../telemetry/tracing.ts";
import { bytesBySendfile } from "./reply.ts";
import type { QuotaBucket } from "../quota/bucket.ts";
import { payerOf } from "../quota/limits.ts";
import type { Metrics } from "../telemetry/metrics.ts";

/** A node's name as Kubernetes allows it (RFC 1123 subdomain); any other header is ignored. */
const nodeName = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/** Where the records of requests are written. */
export interface RecordSinks {
  readonly clock: Clock;
  readonly log: Log;
  readonly sums: RequestSums;
  readonly failures: Failures;
  /** If pulls are traced. */
  readonly tracing?: Tracing;
  /** If pulls are audited. */
  readonly audit?: Audit;
  /** The client's address, where it is not that of the connection. */
  readonly addressOf?: (incoming: IncomingMessage) => string | undefined;
}

/** The client's name: its node's, or else its address. */
export function clientOf(incoming: IncomingMessage, address = incoming.socket.remoteAddress): string {
  return nodeOf(incoming) ?? address ?? "unknown";
}

function nodeOf({ headers: { "x-hubcap-node": node } }: IncomingMessage): string | undefined {
  return typeof node === "string" && nodeName.test(node) ? node : undefined;
}

/** One request, from its headers until its response is closed. */
export class RequestRecord implements PullNotes {
  /** What the client has proven of itself. */
  identity: ClientIdentity = anonymousClient;
  readonly isHead: boolean;
  upstreamMs = 0;
  denied: PullNotes["denied"];
  outcome: Outcome | "error" = "error";
  /** The size of the content in bytes, as far as it is known. */
  size: number | undefined;
  /** The digest of the content. */
  digest: Digest | undefined;
  /** Why the response is an error, if it is one. */
  reason: string | undefined;
  readonly #startedAt: number;
  readonly #incoming: IncomingMessage;
  readonly #outgoing: ServerResponse;
  readonly #node: string | undefined;
  readonly #client: string;
  readonly #userAgent: string;
  readonly #address: string | undefined;
  readonly #sinks: RecordSinks;
  readonly #sentBefore: number;
  #target: Target | undefined;
  #span: TraceStep | undefined;

  constructor(incoming: IncomingMessage, outgoing: ServerResponse, sinks: RecordSinks) {
    const { "user-agent": userAgent = "" } = incoming.headers;
    this.#node = nodeOf(incoming);
    this.#startedAt = sinks.clock.elapsed();
    // Read now, since a closed connection no longer has it.
    this.#address = sinks.addressOf ? sinks.addressOf(incoming) : incoming.socket.remoteAddress;
    this.#client = clientOf(incoming, this.#address);
    this.#userAgent = userAgent.slice(0, 256);
    this.isHead = incoming.method === "HEAD";
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    this.#sinks = sinks;
    this.#sentBefore = incoming.socket.bytesWritten;
    outgoing.on("close", () => this.#write(incoming.socket.bytesWritten));
  }

  /** Undefined where the request could not be read. */
  get target(): Target | undefined {
    return this.#target;
  }

  /** The request as the mirror is given it. */
  request(): PullRequest {
    return {
      identity: this.identity,
      client: this.#client,
      payer: payerOf(identityOf(this.identity), this.#address, this.#client),
      address: this.#address,
      userAgent: this.#userAgent,
      head: this.isHead,
      deadline: this.#startedAt + patienceMs,
      trace: this.#span,
      notes: this,
    };
  }

  /** Sets what the request asks for, once it has been read. */
  begin(target: Target): void {
    this.#target = target;
    if (target.kind === "ping") return;
    const { tracing } = this.#sinks;
    if (tracing) this.#trace(tracing, target.kind);
  }

  #trace(tracing: Tracing, kind: string): void {
    const { method = "", headers } = this.#incoming;
    const { traceparent, tracestate } = headers;
    this.#span = tracing.begin(
      `pull ${kind}`,
      { traceparent, tracestate },
      {
        "http.request.method": method,
        "user_agent.original": this.#userAgent,
        "hubcap.client": this.#client,
      },
    );
  }

  #write(sent: number): void {
    const { target, outcome } = this;
    const { clock, log, sums, failures, audit } = this.#sinks;
    const kind = target?.kind ?? "unknown";
    const reference = target && referenceOf(target);
    const ms = clock.elapsed() - this.#startedAt;
    // What was sent on the connection, headers included: this is also the cost of a client that left early.
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
    this.#noteFailure(failures);
    const { statusCode: status, writableFinished: complete } = this.#outgoing;
    // The log leaves out what is undefined.
    log.info(
      {
        client: this.#client,
        identity: identityOf(this.identity),
        userAgent: this.#userAgent,
        method: this.#incoming.method,
        kind,
        upstream: repository?.upstream,
        repository: repository && formatRepository(repository),
        reference,
        status,
        outcome,
        denied: this.denied,
        reason: this.reason,
        bytes,
        cut: complete ? undefined : true,
        ms: Math.round(ms * 10) / 10,
        upstreamMs: Math.round(this.upstreamMs),
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
    audit.write({
      client: this.#client,
      address: this.#address,
      node: this.#node,
      identity: identityOf(this.identity),
      userAgent: this.#userAgent,
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
      denied: this.denied,
    });
  }

  /** What the client got without a request to the upstream: a manifest counts as a pull, a blob by its bytes. */
  #saved(sent: number): { readonly savedPulls?: number; readonly savedBytes?: number } {
    const { target, outcome, size = sent } = this;
    const isHeld = outcome === "hit" || outcome === "join" || outcome === "stale";
    if (!isContent(target) || !isHeld || this.isHead || this.#outgoing.statusCode >= 300) return {};
    return { savedPulls: target.kind === "manifest" ? 1 : 0, savedBytes: Math.min(sent, size) };
  }

  #noteFailure(failures: Failures): void {
    const { target, reason } = this;
    if (reason === undefined || !target || !isContent(target)) return;
    const image = formatImage(target.repository, target.kind === "blob" ? target.digest : target.reference);
    failures.note({ client: this.#client, image, status: this.#outgoing.statusCode, reason });
  }
}

function isContent(target: Target | undefined): target is Target & { kind: "manifest" | "blob" } {
  return target?.kind === "manifest" || target?.kind === "blob";
}

/** The end of a request, as traces and the audit log have it. */
interface End {
  readonly kind: string;
  readonly repository: Repository | undefined;
  readonly reference: string | undefined;
  readonly status: number;
  readonly complete: boolean;
  readonly bytes: number;
  readonly ms: number;
}

/** What identified the client, as access rules write it. */
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

/** Requests of one kind and outcome that have ended. */
export interface EndedRequests {
  /** The source host; empty where there is none. */
  readonly upstream: string;
  readonly kind: string;
  readonly outcome: Outcome | "error";
  /** How long each of them took. */
  readonly seconds: readonly number[];
  /** What was sent on their connections. */
  readonly bytes: number;
  /** What clients got without a request to the upstream. */
  readonly savedPulls?: number;
  readonly savedBytes?: number;
}

/** Where requests are added up. */
export interface RequestSums {
  add(requests: EndedRequests): void;
}

/** Adds requests to the metrics and to what `buckets`, by source host, have saved. */
export function requestSums(
  metrics: Metrics,
  buckets: ReadonlyMap<string, Pick<QuotaBucket, "saved">>,
): RequestSums {
  return {
    add({ upstream, kind, outcome, seconds, bytes, savedPulls = 0, savedBytes = 0 }) {
      for (const each of seconds) metrics.requestSeconds.observe({ kind, outcome }, each);
      metrics.requests.inc({ upstream, kind, outcome }, seconds.length);
      if (upstream !== "") metrics.servedBytes.inc({ upstream, outcome }, bytes);
      if (savedPulls > 0 || savedBytes > 0) buckets.get(upstream)?.saved(savedPulls, savedBytes);
      if (kind !== "manifest" && kind !== "blob") return;
      for (const [index] of seconds.entries()) metrics.history.count(outcome, index === 0 ? savedBytes : 0);
    },
  };
}

type Subtotal = { -readonly [key in keyof EndedRequests]-?: EndedRequests[key] } & {
  readonly seconds: number[];
};

/** Adds up requests of the same upstream, kind and outcome until they are taken. */
export class Subtotals implements RequestSums {
  #subtotals = new Map<string, Subtotal>();

  get isEmpty(): boolean {
    return this.#subtotals.size === 0;
  }

  add({ upstream, kind, outcome, seconds, bytes, savedPulls = 0, savedBytes = 0 }: EndedRequests): void {
    const key = `${upstream} ${kind} ${outcome}`;
    const known = this.#subtotals.get(key);
    if (!known) {
      const first = { upstream, kind, outcome, seconds: [...seconds], bytes, savedPulls, savedBytes };
      this.#subtotals.set(key, first);
      return;
    }
    known.seconds.push(...seconds);
    known.bytes += bytes;
    known.savedPulls += savedPulls;
    known.savedBytes += savedBytes;
  }

  /** Removes and returns all subtotals. */
  take(): EndedRequests[] {
    const subtotals = [...this.#subtotals.values()];
    this.#subtotals = new Map();
    return subtotals;
  }
}

/** Passes requests on to `sums` once a turn of the event loop, in subtotals: one by one they cost more than the rest of their record. */
export function inTurns(sums: RequestSums): RequestSums {
  const subtotals = new Subtotals();
  const flush = (): void => {
    for (const requests of subtotals.take()) sums.add(requests);
  };
  return {
    add(requests) {
      if (subtotals.isEmpty) setImmediate(flush);
      subtotals.add(requests);
    },
  };
}
