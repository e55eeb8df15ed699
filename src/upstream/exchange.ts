/** One request to a registry until its final reply: token, challenge, redirects, and what the status means. */
import type { Purpose, RequestKind } from "../quota/quota.ts";
import { pinged, type Gate } from "./gate.ts";
import type { Authority, Proof } from "./auth/authority.ts";
import { UpstreamError, connectionError } from "./error.ts";
import { SingleFlight, type Parties } from "../async/concurrency.ts";
import type { ConnectionPool } from "./net/connectionPool.ts";
import type { Need } from "./auth/token.ts";
import type { HttpRequest, Reply, Timeouts, HttpClient } from "./net/httpClient.ts";
import { manifestTypes, maxManifestBytes } from "../oci/descriptor.ts";
import { algorithmOf, digestOf, parseDigest, type Digest } from "../oci/digest.ts";
import { ManifestError, maxParts, readManifest, type Manifest } from "../oci/manifest.ts";
import { isDigest, type Reference } from "../oci/reference.ts";
import type { Headers } from "../quota/limits.ts";

export interface UpstreamRequest extends Need {
  readonly kind: Exclude<RequestKind, "token" | "ping">;
  readonly method: "GET" | "HEAD";
  /** Below the registry's own address. */
  readonly url: URL;
  readonly headers: Readonly<Record<string, string | string[]>>;
  /** What is requested, for messages. */
  readonly what: string;
}

interface ExchangeOptions {
  /** The upstream's name, for messages. */
  readonly name: string;
  /** The address of the registry's `/v2/`. */
  readonly base: URL;
  /** Asks for it, showing nothing. */
  readonly ping: () => Promise<Reply>;
  readonly authority: Authority;
  readonly gate: Gate;
  readonly pool: ConnectionPool;
  readonly client: HttpClient;
  readonly timeouts: Timeouts;
  readonly userAgent: string;
}

/** The requests to one registry. */
export class Exchange {
  readonly #options: ExchangeOptions;
  readonly #pings = new SingleFlight<void>();

  constructor(options: ExchangeOptions) {
    this.#options = options;
  }

  /** The reply: a 200 or 206 in no encoding. Its body must be read or discarded. @throws UpstreamError */
  async fetch(request: UpstreamRequest): Promise<Reply> {
    let reply = await this.#follow(request);
    if (reply.status === 403 && !this.#isOwnOrigin(reply.url) && request.kind !== "manifest-get") {
      // A signed address may have expired meanwhile: the registry gives another.
      reply.discard();
      reply = await this.#follow(request);
    }
    const error = this.#judge(reply, request);
    if (!error) return reply;
    reply.discard();
    throw error;
  }

  async #follow(request: UpstreamRequest): Promise<Reply> {
    const { proof, reply: first } = await this.#prove(request);
    let reply = first;
    let isOwnOrigin = true;
    const seen = new Set([request.url.href]);
    while (isRedirect(reply.status)) {
      reply.discard();
      const next = nextAddress(reply);
      if (seen.has(next.href) || seen.size > maxRedirects) {
        throw new UpstreamError("corrupt", `${this.#options.name} redirects in circles`, {
          status: reply.status,
        });
      }
      seen.add(next.href);
      // Once another origin was on the way, even our own origin gets no credential: the other one chose the address.
      isOwnOrigin &&= this.#isOwnOrigin(next);
      reply = isOwnOrigin
        ? await this.#send(request, next, proof)
        : await this.#sendRedirected(request, next);
    }
    return reply;
  }

  /** The registry's first reply that is not a challenge we can meet. */
  async #prove(request: UpstreamRequest): Promise<{ proof: Proof; reply: Reply }> {
    const { authority, gate } = this.#options;
    // A request that will be refused needs no token.
    gate.check(request);
    if (!authority.isKnown) await this.#ping(request);
    const proof = await authority.prove(request);
    const reply = await this.#send(request, request.url, proof);
    if (reply.status !== 401) {
      authority.settled(proof, reply.status, request);
      return { proof, reply };
    }
    reply.discard();
    const better = await authority.proveAnew(proof, reply.headers, request);
    const second = await this.#send(request, request.url, better);
    authority.settled(better, second.status, request);
    return { proof: better, reply: second };
  }

  /** Finds out what the registry wants to be shown, so that no pull is spent on a challenge. */
  #ping({ repository, purpose, signal }: Need): Promise<void> {
    const { ping, gate, authority } = this.#options;
    const send = async (joined: Parties): Promise<void> => {
      const counted = { kind: "ping", repository, purpose: { ...purpose, joined }, what: pinged } as const;
      const reply = await gate.pass(counted, undefined, ping);
      reply.discard();
      authority.learn(reply.status, reply.headers);
    };
    return this.#pings.join("", send, signal, purpose);
  }

  #send(request: UpstreamRequest, url: URL, proof: Proof): Promise<Reply> {
    const { authority, gate, client } = this.#options;
    const { kind, repository, purpose, what } = request;
    const shown = proof.kind === "none" ? {} : { authorization: proof.header };
    const message = this.#messageFor(request, url, shown);
    const counted = { kind, repository, purpose, what };
    const send = (until: AbortSignal | undefined): Promise<Reply> =>
      gate.pass(counted, until, () => client.send(message));
    return this.#whenFree(message, purpose, () => authority.login(proof, request, send));
  }

  #sendRedirected(request: UpstreamRequest, url: URL): Promise<Reply> {
    const message = this.#messageFor(request, url, {});
    const { gate, client } = this.#options;
    return this.#whenFree(message, request.purpose, () =>
      gate.passRedirected(() => client.send(message), request.purpose.trace),
    );
  }

  /** A download waits for its connection before it takes a permit, which others could use meanwhile. */
  #whenFree(
    { isBulk, url, signal }: HttpRequest,
    purpose: Purpose,
    send: () => Promise<Reply>,
  ): Promise<Reply> {
    return isBulk ? this.#options.pool.hold(url.origin, purpose, signal, send) : send();
  }

  #messageFor(request: UpstreamRequest, url: URL, shown: Record<string, string>): HttpRequest {
    const { timeouts } = this.#options;
    const isBlob = request.kind === "blob";
    return {
      ...this.#message(request.method, url, { ...request.headers, ...shown }),
      headersMs: isBlob ? timeouts.blobHeadersMs : timeouts.headersMs,
      isBulk: isBlob && request.method === "GET",
      signal: request.signal,
    };
  }

  #message(method: "GET" | "HEAD", url: URL, headers: Record<string, string | string[]>): HttpRequest {
    const { userAgent, timeouts } = this.#options;
    const common = { "user-agent": userAgent, "accept-encoding": "identity" };
    return { method, url, headers: { ...common, ...headers }, headersMs: timeouts.headersMs };
  }

  #isOwnOrigin(url: URL): boolean {
    return url.origin === this.#options.base.origin;
  }

  #judge({ status, headers, url }: Reply, request: UpstreamRequest): UpstreamError | undefined {
    const { name, authority } = this.#options;
    const { what } = request;
    if (status === 200 || status === 206) {
      const encoding = headers["content-encoding"] ?? "identity";
      if (encoding === "identity" || encoding === "") return undefined;
      return new UpstreamError("corrupt", `${url.host} sent ${what} in an encoding that was not asked for`, {
        status,
      });
    }
    if (status === 404 || status === 410)
      return new UpstreamError("absent", `${name} has no ${what}`, { status });
    if (status === 401 || status === 403) return authority.denied(request, status);
    const message = `${url.host} answered ${status} to a request for ${what}`;
    return new UpstreamError(status === 408 || status === 501 ? "unreachable" : "corrupt", message, {
      status,
    });
  }
}

/** So many redirects are followed for one request. */
const maxRedirects = 5;

const maxLength = 8192;
const statuses = new Set([301, 302, 303, 307, 308]);

/** Whether `status` is a redirect of GET or HEAD. */
function isRedirect(status: number): boolean {
  return statuses.has(status);
}

/** The address that a redirect names. @throws UpstreamError "corrupt" when it may not be followed. */
function nextAddress({ url, status, headers }: Reply): URL {
  const { location } = headers;
  const next = typeof location === "string" && location.length <= maxLength ? URL.parse(location, url) : null;
  const refuse = (why: string): UpstreamError =>
    new UpstreamError("corrupt", `${url.host} redirects ${why}, which is not followed`, { status });
  if (!next) throw refuse("to nowhere");
  if (next.protocol !== "https:" && next.protocol !== "http:") throw refuse(`to ${next.protocol}`);
  if (next.protocol === "http:" && url.protocol === "https:") throw refuse("from https to http");
  if (next.username !== "" || next.password !== "") throw refuse("with a password in the address");
  next.hash = "";
  return next;
}

/** A manifest whose bytes are of `digest` and of a kind that we know. */
export interface FetchedManifest {
  readonly bytes: Buffer;
  readonly mediaType: string;
  readonly digest: Digest;
  /** What the bytes say. */
  readonly parsed: Manifest;
}

/** What the headers of a manifest say, proven by nothing. */
export interface ManifestHead {
  /** One that we know; empty where the headers name none. */
  readonly mediaType: string;
  /** Undefined where only the bytes can tell: the headers name none, or are not a manifest's. */
  readonly digest: Digest | undefined;
  /** In bytes. */
  readonly size: number | undefined;
}

/** Of an upstream whose replies to HEAD say nothing. */
export const unknownManifest: ManifestHead = { mediaType: "", digest: undefined, size: undefined };

const withinMs = 30_000;

/** Manifests of more bytes are hashed and parsed in two turns of the event loop. */
const largeBytes = 256 * 1024;

/** @throws UpstreamError "corrupt" when the headers contradict what was asked for. */
export function resolvedOf({ headers, url }: Reply, reference: Reference): ManifestHead {
  const claimed = claimedDigest(headers, url);
  if (isDigest(reference) && claimed !== undefined && claimed !== reference)
    throw mismatch(url, reference, claimed);
  const mediaType = mediaTypeIn(headers);
  // With another type the reply may not be about a manifest at all.
  if (!manifestTypes.includes(mediaType)) return unknownManifest;
  return {
    mediaType,
    digest: isDigest(reference) ? reference : claimed,
    size: lengthIn(headers),
  };
}

/** @throws UpstreamError "corrupt" when the bytes are not what was asked for, or not what the upstream says they are. */
export async function fetchedManifest(reply: Reply, reference: Reference): Promise<FetchedManifest> {
  const { headers, url } = reply;
  const bytes = await reply.read(maxManifestBytes, withinMs);
  const claimed = claimedDigest(headers, url);
  const expected = new Set(isDigest(reference) ? [reference, claimed] : [claimed]);
  for (const digest of expected) {
    if (digest === undefined) continue;
    const found = digestOf(bytes, algorithmOf(digest));
    if (found !== digest) throw mismatch(url, digest, found);
  }
  // To hash and to parse megabytes are some ten ms each.
  if (bytes.length > largeBytes) await new Promise(setImmediate);
  const parsed = readAs(reply, bytes);
  const { mediaType, children, layers } = parsed;
  const parts = children.length + layers.length;
  if (parts > maxParts) {
    throw new UpstreamError(
      "corrupt",
      `${url.host} sent a manifest that names ${parts} others or layers, and ${maxParts} are accepted: pull one that it names by its digest, or build it in parts`,
    );
  }
  return { bytes, mediaType, parsed, digest: isDigest(reference) ? reference : (claimed ?? digestOf(bytes)) };
}

/** The manifest that a whole body is. @throws UpstreamError "corrupt" when it is none. */
export function readAs({ headers, url }: Reply, bytes: Buffer): Manifest {
  try {
    const type = headers["content-type"];
    return readManifest(bytes, typeof type === "string" ? type : "");
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    throw new UpstreamError("corrupt", `${url.host} sent a manifest that is not accepted: ${error.message}`, {
      cause: error,
    });
  }
}

/** The length that the headers give, in bytes. */
export function lengthIn(headers: Headers): number | undefined {
  const text = headers["content-length"];
  const length = typeof text === "string" && /^\d+$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(length) ? length : undefined;
}

function mediaTypeIn(headers: Headers): string {
  const type = headers["content-type"];
  return typeof type === "string" ? (type.split(";")[0] ?? "").trim().toLowerCase() : "";
}

function claimedDigest(headers: Headers, url: URL): Digest | undefined {
  const text = headers["docker-content-digest"];
  if (text === undefined) return undefined;
  const digest = typeof text === "string" ? parseDigest(text) : undefined;
  if (!digest)
    throw new UpstreamError("corrupt", `${url.host} sent a Docker-Content-Digest that is no digest`);
  return digest;
}

function mismatch(url: URL, expected: Digest, found: Digest): UpstreamError {
  return new UpstreamError(
    "corrupt",
    `${url.host} sent a manifest with another digest: expected ${expected}, found ${found}`,
  );
}

/** A part of a blob on its way. The size is that of the whole blob, in bytes, where the upstream said it. */
export interface BlobStream {
  readonly offset: number;
  readonly size: number | undefined;
  /** Iterating throws UpstreamError "unreachable" when the upstream breaks off or stalls. */
  readonly body: AsyncIterable<Uint8Array>;
  /** Ends a body that is not read to its end. */
  cancel(): void;
}

/**
 * The stream of an answer to a request for everything from `offset` on, which may also begin earlier.
 * @throws UpstreamError "corrupt" when it is another part.
 */
export function blobStream(reply: Reply, offset: number): BlobStream {
  const { body, url } = reply;
  const part = reply.status === 206 ? contentRange(reply) : { start: 0, size: lengthIn(reply.headers) };
  if (!part || part.start > offset) {
    reply.discard();
    throw new UpstreamError("corrupt", `${url.host} sent another part of a blob than was asked for`, {
      status: reply.status,
    });
  }
  return {
    offset: part.start,
    size: part.size,
    body: chunks(reply),
    cancel: () => void body.destroy(),
  };
}

async function* chunks({ body, url }: Reply): AsyncGenerator<Uint8Array> {
  try {
    yield* body as AsyncIterable<Buffer>;
  } catch (error) {
    const { message } = connectionError(error, url.host);
    throw new UpstreamError("unreachable", message, { cause: error });
  }
}

/** `Content-Range` (RFC 9110 14.4), or undefined when it is missing or makes no sense. */
function contentRange({ headers }: Reply): { start: number; size: number | undefined } | undefined {
  const text = headers["content-range"];
  const found =
    typeof text === "string" ? /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)$/i.exec(text.trim()) : null;
  if (!found) return undefined;
  const [start, end] = [Number(found[1]), Number(found[2])];
  const size = found[3] === "*" ? undefined : Number(found[3]);
  const isSound = start <= end && (size === undefined || end < size) && Number.isSafeInteger(size ?? end);
  return isSound ? { start, size } : undefined;
}
