/** The interface between upstream and quota: leave to send a request, and a report of how it ended. */
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/reference.ts";
import type { Parties } from "../async/concurrency.ts";
import type { TraceStep } from "../async/step.ts";

/** Why a request is sent, most urgent first: a client waits for it, a held tag is checked, or an image is fetched ahead. */
export type Reason = "pull" | "revalidate" | "warm";

/** A manifest as a part of an image, which runs only when all of it can be paid for. */
export interface ImagePart {
  readonly digest: Digest;
  /** How many more pulls the rest of the image takes. */
  readonly rest: number;
  /** What it is part of: a pull that was set aside with one of these pays for it. */
  readonly partOf: readonly Digest[];
}

/** What caused a request. */
export interface Purpose {
  readonly reason: Reason;
  /** The node's name where its requests carry one, else its address: for reports, since clients name themselves. */
  readonly client: string;
  /** Whose limits it counts in: see payerOf in limits.ts. */
  readonly payer: string;
  /** The client's address; absent for Hubcap's own requests. */
  readonly address?: string | undefined;
  /** Other clients that wait for the same: it waits for no one's turn longer than for theirs. */
  readonly joined?: Parties;
  readonly userAgent: string;
  /** The pull, or the part of it, that requests and waiting are steps of, while it is traced. */
  readonly trace?: TraceStep;
  /** What a request for a manifest brings of an image. */
  readonly image?: ImagePart;
  /** Aborted when a client waits for what was to be fetched ahead: the request leaves the queue with this signal's reason. */
  readonly promoted?: AbortSignal;
}

export type RequestKind = "ping" | "token" | "manifest-get" | "manifest-head" | "blob" | "tags" | "referrers";

/** One request that is about to be sent upstream. */
export interface QuotaRequest {
  readonly kind: RequestKind;
  readonly repository: Repository;
  /** What may fail or be limited alone, and is named in messages: `manifest library/nginx:1`. */
  readonly what: string;
  readonly purpose: Purpose;
}

/** What an upstream answered, as far as quota is concerned. */
export interface QuotaAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** A 429 about the rate of requests of any kind, not about pulls (Docker Hub: text/plain, HAP429, sometimes malformed). */
  readonly abuse?: boolean;
  /** A 429 in the words of Docker Hub's limit on pulls. */
  readonly pulls?: boolean;
}

/** Leave to send one request. Exactly one of its methods is called, once. */
export interface Permit {
  /** The upstream answered; the answer's headers correct what is left. */
  answered(answer: QuotaAnswer): void;
  /** No answer came. The upstream may have counted the request all the same. */
  failed(): void;
}

/** One quota as an upstream counts it: upstream × account. */
export interface Bucket {
  /**
   * Waits, for a bounded time, until `request` may be sent.
   * @throws QuotaError when it may not.
   */
  take(request: QuotaRequest, signal?: AbortSignal): Promise<Permit>;
  /** The error with which {@link take} would refuse `request` at once; counted as a refusal like that one. */
  refusal(request: QuotaRequest): QuotaError | undefined;
  /** Reads the limit that a Docker Hub token claims (`pull_limit`, `pull_limit_interval`). */
  learnToken(token: string): void;
}

/**
 * Why a request may not be sent: nothing is left, this client has spent its share, the upstream asked for a pause, or for
 * one of what is requested alone, the wait would be too long, or an outage is rehearsed.
 */
export type QuotaErrorKind = "exhausted" | "share" | "paused" | "limited" | "busy" | "down";

/** A request was refused before it was sent. */
export class QuotaError extends Error {
  override readonly name = "QuotaError";
  readonly kind: QuotaErrorKind;
  /** Whole seconds after which the next request makes sense. */
  readonly retryAfter: number;

  constructor(kind: QuotaErrorKind, message: string, retryAfter: number) {
    super(message);
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}
