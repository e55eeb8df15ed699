/** What can go wrong between a client and an origin: faults, whom they strike and how often. */
import type { AnswerHeaders } from "./hub/answer.ts";
import type { HubRequest, OriginName, RequestKind } from "./hub/requests.ts";

/** Which requests a fault strikes: those that fit everything that is given. */
export interface FaultTarget {
  readonly origin?: OriginName;
  readonly method?: string;
  readonly asks?: RequestKind;
  /** Tried on path and query. */
  readonly path?: RegExp;
  readonly repository?: string;
  readonly reference?: string;
  readonly digest?: string;
  /** Only requests with, or only those without, a Range header. */
  readonly ranged?: boolean;
  /** How many requests it strikes. Default: every one until it is removed. */
  readonly times?: number;
  /** How many fitting requests pass before the first is struck. Default 0. */
  readonly skip?: number;
}

/**
 * What happens. An offset `after` or `at` is in bytes of the body; a negative one counts from the body's end.
 * The kinds up to `flood` take the registry's place, so nothing is charged; all others spoil an honest answer.
 */
export type FaultAction =
  /** Another answer altogether: an error, a page of HTML, a redirect by its `location`. */
  | {
      readonly kind: "status";
      readonly status: number;
      readonly headers?: AnswerHeaders;
      readonly body?: Uint8Array | string;
    }
  /** These bytes on the wire, then the end of the connection. */
  | { readonly kind: "raw"; readonly bytes: Uint8Array | string }
  /** A 200 of `bytes` bytes: `prefix`, then filler. Chunked unless `framing` says otherwise. */
  | {
      readonly kind: "flood";
      readonly bytes: number;
      readonly prefix?: string;
      readonly headers?: AnswerHeaders;
      readonly framing?: "chunked" | "length";
    }
  /** Nothing is answered until the fault is released; then the honest answer. */
  | { readonly kind: "hang" }
  /** The honest answer, later. */
  | { readonly kind: "delay"; readonly ms: number }
  /** Headers and `after` bytes; the rest when the fault is released. */
  | { readonly kind: "stall"; readonly after: number }
  /** A TCP reset after `after` bytes, or without `after` before any header. */
  | { readonly kind: "reset"; readonly after?: number }
  /** An orderly end of the connection after `after` bytes, in one of the three framings. */
  | { readonly kind: "truncate"; readonly after: number; readonly framing: "close" | "length" | "chunked" }
  /** `bytesPerSecond`, in ten pieces a second. */
  | { readonly kind: "drip"; readonly bytesPerSecond: number }
  /** No Content-Length. */
  | { readonly kind: "chunked" }
  /** One bit of the byte at `at` (of the whole content, also when a range is asked for) turned over. */
  | { readonly kind: "flip"; readonly at: number }
  /** Status and headers as they should be, and no bytes: Content-Length 0. */
  | { readonly kind: "empty" }
  /** The Range header is ignored: 200 and everything. */
  | { readonly kind: "whole" }
  /** Content-Range with start and total moved by so many bytes. */
  | { readonly kind: "contentRange"; readonly start?: number; readonly total?: number }
  /** Headers changed, added or left out. */
  | { readonly kind: "headers"; readonly set?: AnswerHeaders; readonly remove?: readonly string[] }
  /** The body gzipped, and said to be so. */
  | { readonly kind: "gzip" }
  /** Other bytes under the honest headers, with a fitting Content-Length. */
  | { readonly kind: "body"; readonly body: Uint8Array | string }
  /** A redirect (of a blob) made of `count` redirects in a row, 2 or more. */
  | { readonly kind: "hops"; readonly count: number }
  /** A redirect (of a blob) to a place that redirects to itself. */
  | { readonly kind: "loop" };

export type Fault = FaultTarget & FaultAction;

/** Docker Hub's abuse limit as it is sent today (docker/hub-feedback#1907). */
export const abuseFault = {
  kind: "status",
  status: 429,
  headers: { "content-type": "text/plain", "retry-after": "60" },
  body: "Too Many Requests (HAP429).\n",
} as const satisfies FaultAction;

/** The same with bare newlines, as it was sent in 2020: no HTTP parser of Node takes it. */
export const bareAbuseFault = {
  kind: "raw",
  bytes:
    "HTTP/1.1 429 Too Many Requests\nContent-Type: text/plain\nRetry-After: 60\n\nToo Many Requests (HAP429).\n",
} as const satisfies FaultAction;

/** A captive portal, or a proxy in the way. */
export const htmlFault = {
  kind: "status",
  status: 200,
  headers: { "content-type": "text/html" },
  body: "<!doctype html><title>Sign in to the network</title>",
} as const satisfies FaultAction;

/** A fault that has been set. */
export class ActiveFault {
  readonly fault: Fault;
  readonly #remove: (fault: ActiveFault) => void;
  readonly #release = Promise.withResolvers<void>();
  #fitted = 0;
  #held = 0;
  #waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  /** How many requests it has struck. */
  hits = 0;

  constructor(fault: Fault, remove: (fault: ActiveFault) => void) {
    this.fault = fault;
    this.#remove = remove;
  }

  /** Whether the request is struck; counts it if so. */
  strikes(request: HubRequest): boolean {
    if (!fits(this.fault, request)) {
      return false;
    }
    this.#fitted += 1;
    const { skip = 0, times = Number.POSITIVE_INFINITY } = this.fault;
    if (this.#fitted <= skip || this.hits >= times) {
      return false;
    }
    this.hits += 1;
    return true;
  }

  /** Strikes no more requests. Those that it holds stay held. */
  remove(): void {
    this.#remove(this);
  }

  /** Lets the requests that `hang` or `stall` holds go on, and strikes no more. */
  release(): void {
    this.remove();
    this.#release.resolve();
  }

  /** Resolves when `count` requests in all have come to the point where they are held. */
  held(count = 1): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ count, resolve });
      this.#tell();
    });
  }

  /** For the one who plays the fault: resolves on release. */
  hold(): Promise<void> {
    this.#held += 1;
    this.#tell();
    return this.#release.promise;
  }

  #tell(): void {
    for (const waiter of this.#waiting.filter(({ count }) => count <= this.#held)) {
      waiter.resolve();
    }
    this.#waiting = this.#waiting.filter(({ count }) => count > this.#held);
  }
}

function fits(target: FaultTarget, request: HubRequest): boolean {
  return (
    (target.origin === undefined || target.origin === request.origin) &&
    (target.method === undefined || target.method === request.method) &&
    (target.asks === undefined || target.asks === request.kind) &&
    (target.path === undefined || target.path.test(request.path)) &&
    (target.repository === undefined || target.repository === request.repository) &&
    (target.reference === undefined || target.reference === request.reference) &&
    (target.digest === undefined || target.digest === request.digest) &&
    (target.ranged === undefined || target.ranged === (request.headers.range !== undefined))
  );
}

/** The faults that are set; of several that fit, the one set first strikes. */
export class Faults {
  #active: ActiveFault[] = [];

  add(fault: Fault): ActiveFault {
    const active = new ActiveFault(fault, (gone) => {
      this.#active = this.#active.filter((other) => other !== gone);
    });
    this.#active.push(active);
    return active;
  }

  /** Removes and releases all. */
  clear(): void {
    for (const active of this.#active) {
      active.release();
    }
  }

  strike(request: HubRequest): ActiveFault | undefined {
    return this.#active.find((active) => active.strikes(request));
  }
}
