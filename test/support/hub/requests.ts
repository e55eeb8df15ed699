/** What reached the stand-in: one record for each request, and counts that are nothing but sums over the records. */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";

export type OriginName = "registry" | "token" | "cdn";
export type RequestKind = "ping" | "manifest" | "blob" | "tags" | "referrers" | "token" | "other";

/** One request, as it came and as it was answered. Times are in ms of the stand-in's clock. */
export interface HubRequest {
  readonly origin: OriginName;
  readonly method: string;
  /** Path and query, as received. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly remote: string;
  readonly at: number;
  readonly kind: RequestKind;
  readonly repository: string | undefined;
  /** The tag or digest of a manifest. */
  readonly reference: string | undefined;
  /** The digest of a blob, of a manifest by digest, or of a subject; of a manifest by tag once it is answered. */
  digest: string | undefined;
  /** The account whose token or password came along, `anonymous` without one; undefined until it is looked up. */
  account: string | undefined;
  /** Whether it cost a pull. */
  charged: boolean;
  /** The kind of the fault that was played, if any. */
  fault: string | undefined;
  /** Undefined until headers are sent. */
  status: number | undefined;
  /** Body bytes that were handed to the system. */
  bytes: number;
  /** Whether the answer was sent to its end. */
  complete: boolean;
  /** Whether it is over, in whatever way: answered, broken off or left. */
  over: boolean;
}

const registryPath = /^\/v2\/(?<name>.+?)\/(?<kind>manifests|blobs|referrers|tags)\/(?<rest>[^/]+)$/;
const cdnPath =
  /^\/registry-v2\/docker\/registry\/v2\/blobs\/sha256\/[0-9a-f]{2}\/(?<hex>[0-9a-f]{64})\/data$/;
const kinds: Readonly<Record<string, RequestKind>> = {
  manifests: "manifest",
  blobs: "blob",
  referrers: "referrers",
  tags: "tags",
};

/** The record of a request that has just come in. */
export function recordOf(origin: OriginName, request: IncomingMessage, at: number): HubRequest {
  const path = request.url ?? "/";
  return {
    origin,
    method: request.method ?? "GET",
    path,
    headers: request.headers,
    remote: (request.socket.remoteAddress ?? "").replace(/^::ffff:/, ""),
    at,
    ...classify(origin, path.split("?")[0] ?? "/"),
    account: undefined,
    charged: false,
    fault: undefined,
    status: undefined,
    bytes: 0,
    complete: false,
    over: false,
  };
}

function classify(
  origin: OriginName,
  path: string,
): Pick<HubRequest, "kind" | "repository" | "reference" | "digest"> {
  const nothing = { repository: undefined, reference: undefined, digest: undefined };
  if (origin === "token") {
    return { kind: path === "/token" ? "token" : "other", ...nothing };
  }
  if (origin === "cdn") {
    const hex = cdnPath.exec(path)?.groups?.["hex"];
    return hex === undefined
      ? { kind: "other", ...nothing }
      : { kind: "blob", ...nothing, digest: `sha256:${hex}` };
  }
  if (path === "/v2/" || path === "/v2") {
    return { kind: "ping", ...nothing };
  }
  const groups = registryPath.exec(path)?.groups;
  const rest = groups?.["rest"];
  return {
    kind: kinds[groups?.["kind"] ?? ""] ?? "other",
    repository: groups?.["name"],
    reference: groups?.["kind"] === "manifests" ? rest : undefined,
    digest: rest?.includes(":") === true ? rest : undefined,
  };
}

/** Numbers by some key, and their sum. */
export interface Counted {
  readonly total: number;
  readonly byReference: Readonly<Record<string, number>>;
  readonly byDigest: Readonly<Record<string, number>>;
  readonly byRepository: Readonly<Record<string, number>>;
  readonly byAccount: Readonly<Record<string, number>>;
}

function countBy(requests: readonly HubRequest[], key: keyof HubRequest): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const request of requests) {
    const value = request[key];
    if (typeof value === "string") {
      counts[value] = (counts[value] ?? 0) + 1;
    }
  }
  return counts;
}

function counted(requests: readonly HubRequest[]): Counted {
  return {
    total: requests.length,
    byReference: countBy(requests, "reference"),
    byDigest: countBy(requests, "digest"),
    byRepository: countBy(requests, "repository"),
    byAccount: countBy(requests, "account"),
  };
}

/** Everything that was asked since the last reset. A request that was only challenged (401, 403) is in `requests`, not in the tallies. */
export class HubCounts {
  #requests: HubRequest[] = [];
  #waiting: { readonly check: () => boolean; readonly resolve: () => void }[] = [];

  get requests(): readonly HubRequest[] {
    return this.#requests;
  }

  add(request: HubRequest): void {
    this.#requests.push(request);
    this.#tell();
  }

  /** Marks a request as over. */
  end(request: HubRequest): void {
    request.over = true;
    this.#tell();
  }

  #tell(): void {
    for (const waiter of this.#waiting.filter(({ check }) => check())) {
      waiter.resolve();
      this.#waiting = this.#waiting.filter((other) => other !== waiter);
    }
  }

  /** Resolves when `count` requests that fit have come in since the last reset (or, with `over`, have ended), also if they already have. */
  when(fits: (request: HubRequest) => boolean, count = 1): Promise<void> {
    const check = (): boolean => this.#requests.filter(fits).length >= count;
    return check()
      ? Promise.resolve()
      : new Promise((resolve) => {
          this.#waiting.push({ check, resolve });
        });
  }

  reset(): void {
    this.#requests = [];
  }

  #of(origin: OriginName, kind: RequestKind, method?: string): HubRequest[] {
    return this.#requests.filter(
      (request) =>
        request.origin === origin &&
        request.kind === kind &&
        (method === undefined || request.method === method) &&
        request.status !== 401 &&
        request.status !== 403,
    );
  }

  /** Manifest GETs that passed authentication, whatever was answered then. */
  get manifestGets(): Counted {
    return counted(this.#of("registry", "manifest", "GET"));
  }

  get manifestHeads(): Counted {
    return counted(this.#of("registry", "manifest", "HEAD"));
  }

  /** Manifest GETs that cost a pull: what the registry's own limiter saw. */
  get charged(): Counted {
    return counted(this.#requests.filter((request) => request.charged));
  }

  /** Blob GETs at the registry, most of them redirected. */
  get blobGets(): Counted {
    return counted(this.#of("registry", "blob", "GET"));
  }

  get blobHeads(): Counted {
    return counted(this.#of("registry", "blob", "HEAD"));
  }

  /** Blob GETs at the CDN; their `Range` headers are in {@link requests}. */
  get cdnGets(): Counted {
    return counted(this.#of("cdn", "blob", "GET"));
  }

  get pings(): number {
    return this.#of("registry", "ping").length;
  }

  get tags(): Counted {
    return counted(this.#of("registry", "tags"));
  }

  get referrers(): Counted {
    return counted(this.#of("registry", "referrers"));
  }

  /** Token requests, refused ones too; by their scopes as asked (joined by spaces, empty for none). */
  get tokenRequests(): { readonly total: number; readonly byScope: Readonly<Record<string, number>> } {
    const requests = this.#requests.filter((request) => request.kind === "token");
    const byScope: Record<string, number> = {};
    for (const { path } of requests) {
      const scope = new URL(path, "http://token.invalid").searchParams.getAll("scope").join(" ");
      byScope[scope] = (byScope[scope] ?? 0) + 1;
    }
    return { total: requests.length, byScope };
  }
}
