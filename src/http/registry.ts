/**
 * The registry listener: every pull, GET and HEAD. It does without the framework that the status listener uses: there is one
 * route, and a `Request` and a `Response` for each manifest would cost more than all else that is done for it.
 */
import { LRUCache } from "lru-cache";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Mirror } from "../mirror/mirror.ts";
import { ociIndex, type Descriptor } from "../oci/descriptor.ts";
import { RegistryError } from "../oci/error.ts";
import { type Routing, isRead, parseTarget, type Target } from "../oci/target.ts";
import type { QuotaBucket } from "../quota/bucket.ts";
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
  type UnreadBytes,
} from "./reply.ts";
import { RequestRecord, type RecordSinks } from "./requestRecord.ts";

export interface RegistryListenerOptions extends RecordSinks {
  readonly mirror: Mirror;
  readonly routing: Routing;
  /** By source host. */
  readonly buckets: ReadonlyMap<string, Pick<QuotaBucket, "snapshot">>;
  /** For how many ms a client may read nothing of a response. */
  readonly stallMs: number;
  /** Absent where no rule depends on the client. */
  readonly identities?: Pick<Identities, "of" | "challengesPing">;
  /** Limits the blobs that are sent at once. */
  readonly streams: StreamLimit;
  /** Bounds the bodies that wait in memory for clients. */
  readonly unread: UnreadBytes;
}

// RFC 9110 section 7.2: a name or an address, with or without a port.
const hostGrammar = /^(?:[\w.~!$&'()*+,;=%-]*|\[[0-9a-f:.]+\])(?::\d*)?$/i;

/** The request listener of the mirror endpoint. */
export function registryListener(options: RegistryListenerOptions): RequestListener {
  const read = targetReader(options.routing);
  return (incoming, outgoing) => {
    if (isUnambiguous(incoming)) void handle(incoming, outgoing, read, options);
    // As Node responds to what it cannot parse.
    else outgoing.writeHead(400, { Connection: "close" }).end();
  };
}

/**
 * Can this request be read in one way only? Not with a host that is none (RFC 9112 section 3.2), without a path, or with a
 * chunked body: a proxy before us might read these otherwise than we do.
 */
export function isUnambiguous({ method, url, headers }: IncomingMessage): boolean {
  const isRead = method === "GET" || method === "HEAD";
  return (
    hostGrammar.test(headers.host ?? "") &&
    url !== "*" &&
    !(isRead && headers["transfer-encoding"] !== undefined)
  );
}

async function handle(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  read: ReadTarget,
  options: RegistryListenerOptions,
): Promise<void> {
  const record = new RequestRecord(incoming, outgoing, options);
  try {
    // The URL as it came: its dots and escapes matter.
    const target = read(incoming.method ?? "", incoming.url ?? "");
    record.begin(target);
    const { identities } = options;
    if (identities) record.identity = await identities.of(incoming);
    await respond(target, record, incoming, outgoing, options);
  } catch (error) {
    render(error, record, outgoing, options);
  }
}

async function respond(
  target: Target,
  record: RequestRecord,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { mirror, buckets, stallMs, streams, unread, identities, clock }: RegistryListenerOptions,
): Promise<void> {
  const request = record.request();
  const headers = commonHeaders("namespace" in target ? target.namespace : undefined);
  const admit = (bytes: number): void => unread.add(outgoing, request.address ?? "", bytes);
  switch (target.kind) {
    case "ping":
      if (identities?.challengesPing(incoming, request.identity)) throw new RegistryError("UNAUTHORIZED");
      record.outcome = "hit";
      return sendJson(outgoing, {}, headers);
    case "manifest": {
      const found = await mirror.manifest(target.repository, target.reference, request);
      record.outcome = found.outcome;
      record.size = found.manifest.size;
      record.digest = found.manifest.digest;
      if (found.outcome === "miss" && !request.head) {
        Object.assign(headers, rateLimitHeaders(buckets.get(target.repository.upstream), clock.now()));
      }
      if (found.bytes) admit(found.bytes.length);
      return sendManifest(outgoing, found, headers);
    }
    case "blob": {
      record.digest = target.digest;
      const end = request.head ? undefined : streams.begin(request.payer, request.client);
      try {
        const found = await mirror.blob(target.repository, target.digest, request);
        record.outcome = found.outcome;
        record.size = found.size;
        // RFC 9110 section 14.2: ranges are for GET alone.
        const range = request.head ? undefined : incoming.headers.range;
        return await sendBlob(outgoing, found, target.digest, range, headers, stallMs);
      } finally {
        end?.();
      }
    }
    case "tags": {
      const { items, outcome, stale } = await mirror.tags(target.repository, request);
      record.outcome = outcome;
      const { tags, next } = page(items, target);
      return sendJson(
        outgoing,
        { name: target.repository.name, tags },
        { ...headers, ...staleHeaders(stale), ...(next && { Link: `<${next}>; rel="next"` }) },
        200,
        admit,
      );
    }
    case "referrers": {
      const { items, outcome, stale } = await mirror.referrers(target.repository, target.subject, request);
      record.outcome = outcome;
      const { artifactType } = target;
      const manifests = artifactType ? items.filter((item) => item.artifactType === artifactType) : items;
      const all = {
        ...headers,
        ...staleHeaders(stale),
        "Content-Type": ociIndex,
        ...(artifactType && { "OCI-Filters-Applied": "artifactType" }),
      };
      return sendJson(outgoing, referrersIndex(manifests), all, 200, admit);
    }
  }
}

/** One page of all tags, and the address of the next: our own, since an upstream's could lead anywhere. */
function page(
  all: readonly string[],
  { repository, count, last, namespace }: Target & { kind: "tags" },
): { tags: readonly string[]; next?: string } {
  const rest = last === undefined ? all : all.slice(firstAfter(all, last));
  const tags = rest.slice(0, count);
  const end = tags.at(-1);
  if (end === undefined || tags.length === rest.length) return { tags };
  const query = new URLSearchParams({ n: String(count), last: end, ...(namespace && { ns: namespace }) });
  // With `ns` the path is the repository's name; without, its first component is the source host.
  const name = namespace ? repository.name : `${repository.upstream}/${repository.name}`;
  return { tags, next: `/v2/${name}/tags/list?${query.toString()}` };
}

/** Where in `sorted` what comes after `last` begins. */
function firstAfter(sorted: readonly string[], last: string): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? "") > last) high = middle;
    else low = middle + 1;
  }
  return low;
}

function referrersIndex(manifests: readonly Descriptor[]) {
  return { schemaVersion: 2, mediaType: ociIndex, manifests };
}

function render(
  error: unknown,
  record: RequestRecord,
  outgoing: ServerResponse,
  { log, buckets, clock }: RegistryListenerOptions,
): void {
  const known = error instanceof RegistryError ? error : new RegistryError("UNKNOWN");
  record.outcome = "error";
  record.reason = known.message;
  const { target } = record;
  // Clients get no details of our own faults, so the log must have them.
  if (known.status === 500) log.error({ err: error, kind: target?.kind }, "request failed");
  // The response has begun, so that no error can be sent.
  if (outgoing.headersSent) {
    outgoing.destroy();
    return;
  }
  sendError(outgoing, known, {
    ...commonHeaders(target && "namespace" in target ? target.namespace : undefined),
    ...refusalHeaders(known, target, buckets, clock.now()),
    // The body of a refused method is not read, so that what follows on this connection is no request.
    ...(known.code === "UNAUTHORIZED" && { "WWW-Authenticate": 'Basic realm="hubcap", charset="UTF-8"' }),
    ...(known.code === "UNSUPPORTED" && { Allow: "GET, HEAD", Connection: "close" }),
  });
}

/** The state of the quota, where it is why a request was refused. With `whenExhausted: fallback` that is a 503 like others. */
function refusalHeaders(
  { code, retryAfter }: RegistryError,
  target: Target | undefined,
  buckets: RegistryListenerOptions["buckets"],
  now: number,
): { [name: string]: string } {
  if (!target || !("repository" in target)) return {};
  const bucket = buckets.get(target.repository.upstream);
  const isForQuota =
    code === "TOOMANYREQUESTS" || (code === "UNAVAILABLE" && bucket?.snapshot().state === "exhausted");
  return isForQuota ? rateLimitHeaders(bucket, now, retryAfter) : {};
}

/** The memory that URLs and targets may take, in bytes, estimated. */
const capacity = 4 * 1024 * 1024;

/** The estimate for a target without its URL. */
const targetBytes = 500;

/** Longer URLs are not remembered: no client sends them again and again. */
const largest = 4096;

/** Reads a method and a URL. @throws RegistryError as {@link parseTarget} does */
export type ReadTarget = (method: string, url: string) => Target;

/** Reads targets and remembers those of the last URLs, since parsing one takes a tenth of the time of a manifest. */
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
