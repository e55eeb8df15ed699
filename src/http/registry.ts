/**
 * The registry face: every pull, GET and HEAD. It answers past the framework that the status face uses: there is one route,
 * and a `Request` and a `Response` for each manifest cost more than all that is done for it.
 */
import { LRUCache } from "lru-cache";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Mirror } from "../mirror/mirror.ts";
import { ociIndex, type Descriptor } from "../oci/descriptor.ts";
import { RegistryError } from "../oci/error.ts";
import type { Routing } from "../oci/routing.ts";
import { isRead, parseTarget, type Target } from "../oci/target.ts";
import type { Identities } from "./identity.ts";
import type { StreamLimit } from "./limits.ts";
import {
  commonHeaders,
  rateLimitHeaders,
  sendBlob,
  sendError,
  sendJson,
  sendManifest,
  staleHeaders,
  type Buckets,
} from "./reply.ts";
import { RequestRecord, type RecordSinks } from "./requestRecord.ts";

export interface RegistryListenerOptions extends RecordSinks {
  readonly mirror: Mirror;
  readonly routing: Routing;
  readonly buckets: Buckets;
  /** For how many ms a client may take nothing of what waits for it. */
  readonly stallMs: number;
  /** Who clients are; absent where nobody asks. */
  readonly identities?: Pick<Identities, "of" | "challengesPing">;
  /** The blobs that are being sent. */
  readonly streams: StreamLimit;
}

// RFC 9110 section 7.2: a name or an address, perhaps with a port.
const hostGrammar = /^(?:[\w.~!$&'()*+,;=%-]*|\[[0-9a-f:.]+\])(?::\d*)?$/i;

/** What answers at the mirror endpoint. */
export function registryListener(options: RegistryListenerOptions): RequestListener {
  const read = targetReader(options.routing);
  return (incoming, outgoing) => {
    if (isPull(incoming)) void respond(incoming, outgoing, read, options);
    // As Node answers to what it cannot read at all.
    else outgoing.writeHead(400, { Connection: "close" }).end();
  };
}

/**
 * Could this be a pull or any other request that is worth an answer of ours? What a front may read otherwise than we do is
 * not: a host that is none (RFC 9112 section 3.2), no path, or a body whose end is yet to be found.
 */
export function isPull({ method, url, headers }: IncomingMessage): boolean {
  const isRead = method === "GET" || method === "HEAD";
  return (
    hostGrammar.test(headers.host ?? "") &&
    url !== "*" &&
    !(isRead && headers["transfer-encoding"] !== undefined)
  );
}

async function respond(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  read: ReadTarget,
  options: RegistryListenerOptions,
): Promise<void> {
  const exchange = new RequestRecord(incoming, outgoing, options);
  try {
    // The URL as it came: dots and escapes decide what may be asked.
    const target = read(incoming.method ?? "", incoming.url ?? "");
    exchange.begin(target);
    const { identities } = options;
    if (identities) exchange.context.identity = await identities.of(incoming);
    await answer(target, exchange, incoming, outgoing, options);
  } catch (error) {
    render(error, exchange, outgoing, options);
  }
}

async function answer(
  target: Target,
  exchange: RequestRecord,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { mirror, buckets, stallMs, streams, identities }: RegistryListenerOptions,
): Promise<void> {
  const { context: ask } = exchange;
  const headers = commonHeaders("namespace" in target ? target.namespace : undefined);
  switch (target.kind) {
    case "ping":
      if (ask.identity && identities?.challengesPing(incoming, ask.identity))
        throw new RegistryError("UNAUTHORIZED");
      exchange.outcome = "hit";
      return sendJson(outgoing, {}, headers);
    case "manifest": {
      const found = await mirror.manifest(target.repository, target.reference, ask);
      exchange.outcome = found.outcome;
      exchange.size = found.manifest.size;
      exchange.digest = found.manifest.digest;
      if (found.outcome === "miss" && !ask.head) {
        Object.assign(headers, rateLimitHeaders(buckets.get(target.repository.upstream), Date.now()));
      }
      return sendManifest(outgoing, found, headers);
    }
    case "blob": {
      exchange.digest = target.digest;
      const end = ask.head ? undefined : streams.begin(ask.client);
      try {
        const found = await mirror.blob(target.repository, target.digest, ask);
        exchange.outcome = found.outcome;
        exchange.size = found.size;
        // RFC 9110 section 14.2: ranges are for GET alone.
        const range = ask.head ? undefined : incoming.headers.range;
        return await sendBlob(outgoing, found, target.digest, range, headers, stallMs);
      } finally {
        end?.();
      }
    }
    case "tags": {
      const { items, outcome, stale } = await mirror.tags(target.repository, ask);
      exchange.outcome = outcome;
      const { tags, next } = page(items, target);
      return sendJson(
        outgoing,
        { name: target.repository.name, tags },
        { ...headers, ...staleHeaders(stale), ...(next && { Link: `<${next}>; rel="next"` }) },
      );
    }
    case "referrers": {
      const { items, outcome, stale } = await mirror.referrers(target.repository, target.subject, ask);
      exchange.outcome = outcome;
      const { artifactType } = target;
      const manifests = artifactType ? items.filter((item) => item.artifactType === artifactType) : items;
      return sendJson(outgoing, referrersIndex(manifests), {
        ...headers,
        ...staleHeaders(stale),
        "Content-Type": ociIndex,
        ...(artifactType && { "OCI-Filters-Applied": "artifactType" }),
      });
    }
  }
}

/** One page of all tags, and the address of the next. Our own address: an upstream's could lead anywhere. */
function page(
  all: readonly string[],
  { repository, count, last, namespace }: Target & { kind: "tags" },
): { tags: readonly string[]; next?: string } {
  const rest = last === undefined ? all : all.filter((tag) => tag > last);
  if (count === undefined) return { tags: rest };
  const tags = rest.slice(0, count);
  const end = tags.at(-1);
  if (end === undefined || tags.length === rest.length) return { tags };
  const query = new URLSearchParams({ n: String(count), last: end, ...(namespace && { ns: namespace }) });
  // With `ns` the path is the repository's name; without, its first component is the source host.
  const name = namespace ? repository.name : `${repository.upstream}/${repository.name}`;
  return { tags, next: `/v2/${name}/tags/list?${query.toString()}` };
}

function referrersIndex(manifests: readonly Descriptor[]) {
  return { schemaVersion: 2, mediaType: ociIndex, manifests };
}

function render(
  error: unknown,
  exchange: RequestRecord,
  outgoing: ServerResponse,
  { log, buckets }: RegistryListenerOptions,
): void {
  const known = error instanceof RegistryError ? error : new RegistryError("UNKNOWN");
  exchange.outcome = "error";
  exchange.reason = known.message;
  const { target } = exchange;
  // The client hears no detail of what is our own fault, so the log must have all of it.
  if (known.status === 500) log.error({ err: error, kind: target?.kind }, "request failed");
  // Nothing can be said any more once an answer has begun.
  if (outgoing.headersSent) {
    outgoing.destroy();
    return;
  }
  sendError(outgoing, known, {
    ...commonHeaders(target && "namespace" in target ? target.namespace : undefined),
    ...refusalHeaders(known, target, buckets),
    // A body that comes with a refused method is not read, so what follows on this connection is not a request.
    ...(known.code === "UNAUTHORIZED" && { "WWW-Authenticate": 'Basic realm="hubcap", charset="UTF-8"' }),
    ...(known.code === "UNSUPPORTED" && { Allow: "GET, HEAD", Connection: "close" }),
  });
}

/** Where the quota stands, for who was refused for want of it. With `whenExhausted: fallback` that is a 503 like others. */
function refusalHeaders(
  { code, retryAfter }: RegistryError,
  target: Target | undefined,
  buckets: Buckets,
): { [name: string]: string } {
  if (!target || !("repository" in target)) return {};
  const bucket = buckets.get(target.repository.upstream);
  const isForWant =
    code === "TOOMANYREQUESTS" || (code === "UNAVAILABLE" && bucket?.snapshot().state === "exhausted");
  return isForWant ? rateLimitHeaders(bucket, Date.now(), retryAfter) : {};
}

/** Bytes of URLs and targets that are kept at most, as far as they can be told. */
const capacity = 4 * 1024 * 1024;

/** About what a target takes, beside its URL. */
const targetBytes = 500;

/** A longer URL is none that clients send again and again. */
const largest = 4096;

/** What a request's method and URL ask for. @throws RegistryError as {@link parseTarget} does */
export type ReadTarget = (method: string, url: string) => Target;

/** Reads targets, and remembers those of the last URLs: to read one takes a tenth of the time of a manifest. */
export function targetReader(routing: Routing): ReadTarget {
  const known = new LRUCache<string, Target>({
    maxSize: capacity,
    maxEntrySize: largest,
    sizeCalculation: (_target, url) => url.length * 2 + targetBytes,
  });
  return (method, url) => {
    const before = isRead(method) ? known.get(url) : undefined;
    if (before) return before;
    const target = parseTarget(method, url, routing);
    known.set(url, target);
    return target;
  };
}
