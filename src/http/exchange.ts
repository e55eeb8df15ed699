/** What is written down of every request: one log line, the metrics, and what it has saved. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { patienceMs, type Ask, type Outcome } from "../mirror/ask.ts";
import { formatImage, formatRepository } from "../oci/reference.ts";
import type { Target } from "../oci/target.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Buckets } from "./rateLimit.ts";

/** A node's name as Kubernetes allows it (RFC 1123 subdomain); anything else in the header is not a name. */
const nodeName = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/** Where a request is written down. */
export interface Books {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly buckets: Buckets;
}

/** One request, from its first byte until its connection is done with it. */
export class Exchange {
  readonly ask: Ask;
  target: Target | undefined;
  outcome: Outcome | "error" = "error";
  /** The bytes of the content that was found, as far as they are known. */
  size: number | undefined;
  /** Set for an answer that is an error: why. */
  reason: string | undefined;
  readonly #started = performance.now();
  readonly #outgoing: ServerResponse;
  readonly #method: string | undefined;
  readonly #sentBefore: number;

  constructor(incoming: IncomingMessage, outgoing: ServerResponse, books: Books) {
    const { "x-hubcap-node": node, "user-agent": userAgent = "" } = incoming.headers;
    this.ask = {
      client:
        typeof node === "string" && nodeName.test(node) ? node : (incoming.socket.remoteAddress ?? "unknown"),
      userAgent: userAgent.slice(0, 256),
      head: incoming.method === "HEAD",
      until: performance.now() + patienceMs,
      upstreamMs: 0,
    };
    this.#outgoing = outgoing;
    this.#method = incoming.method;
    this.#sentBefore = incoming.socket.bytesWritten;
    outgoing.once("close", () => this.#write(books, incoming.socket.bytesWritten));
  }

  #write({ log, metrics, buckets }: Books, sent: number): void {
    const { target, ask, outcome } = this;
    const kind = target?.kind ?? "unknown";
    const ms = performance.now() - this.#started;
    // What went over the connection, headers included: that is what a client that left half-way has cost.
    const bytes = sent - this.#sentBefore;
    metrics.requestSeconds.observe({ kind, outcome }, ms / 1000);
    const repository = target && "repository" in target ? target.repository : undefined;
    metrics.requests.inc({ upstream: repository?.upstream ?? "", kind, outcome });
    if (repository) metrics.servedBytes.inc({ upstream: repository.upstream, outcome }, bytes);
    const saved = this.#saved(bytes);
    if (repository && saved) buckets.get(repository.upstream)?.saved(saved.pulls, saved.bytes);
    if (isContent(target)) metrics.history.count(outcome, saved?.bytes ?? 0);
    this.#fail(metrics);
    const { statusCode: status, writableFinished: complete } = this.#outgoing;
    log.info(
      {
        client: ask.client,
        userAgent: ask.userAgent,
        method: this.#method,
        kind,
        ...(repository && { upstream: repository.upstream, repository: formatRepository(repository) }),
        ...(target && reference(target)),
        status,
        outcome,
        ...(this.reason && { reason: this.reason }),
        bytes,
        ...(!complete && { cut: true }),
        ms: Math.round(ms * 10) / 10,
        upstreamMs: Math.round(ask.upstreamMs),
      },
      "request",
    );
  }

  /** What the client got without the upstream being asked for it: a manifest is a pull, a blob only its bytes. */
  #saved(sent: number): { readonly pulls: number; readonly bytes: number } | undefined {
    const { target, ask, outcome, size = sent } = this;
    const isHeld = outcome === "hit" || outcome === "join" || outcome === "stale";
    if (!isContent(target) || !isHeld || ask.head || this.#outgoing.statusCode >= 300) return undefined;
    return { pulls: target.kind === "manifest" ? 1 : 0, bytes: Math.min(sent, size) };
  }

  #fail({ failures }: Metrics): void {
    const { target, ask, reason } = this;
    if (reason === undefined || !target || !isContent(target)) return;
    const image = formatImage(target.repository, target.kind === "blob" ? target.digest : target.reference);
    failures.note({ client: ask.client, image, status: this.#outgoing.statusCode, reason });
  }
}

function isContent(target: Target | undefined): target is Target & { kind: "manifest" | "blob" } {
  return target?.kind === "manifest" || target?.kind === "blob";
}

function reference(target: Target): { reference?: string } {
  switch (target.kind) {
    case "manifest":
      return { reference: target.reference };
    case "blob":
      return { reference: target.digest };
    case "referrers":
      return { reference: target.subject };
    case "tags":
    case "ping":
      return {};
  }
}
