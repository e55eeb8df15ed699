/** Responses: headers from a fixed list, then bytes. No header of an upstream is copied. */
import type { ServerResponse } from "node:http";
import type { BlobResult } from "../mirror/blobPull.ts";
import type { Staleness } from "../mirror/context.ts";
import type { ManifestResult } from "../mirror/manifestPull.ts";
import type { Digest } from "../oci/digest.ts";
import { RegistryError } from "../oci/error.ts";
import { formatContentRange, parseRange, type Span } from "../oci/range.ts";
import type { QuotaBucket } from "../quota/bucket.ts";
import { formatRateLimit } from "../quota/limits.ts";
import { readSync } from "node:fs";
import { TLSSocket } from "node:tls";
import { descriptorOf, syscalls } from "./syscalls.ts";

type Headers = { [name: string]: string };

/** A shorter body than this fits into the system's own buffers. */
const largeBody = 16 * 1024;

/** Bytes of large bodies that may wait for clients: of one address, and in all. */
const mostUnread = { address: 32 * 1024 * 1024, all: 128 * 1024 * 1024 } as const;

/** What an address has to read. */
interface Reader {
  bytes: number;
  /** The oldest first. */
  readonly responses: Map<ServerResponse, number>;
}

/**
 * The bytes of large bodies that clients have not read yet: bounded, since each stays in memory until it is read. When there are
 * too many in all, the oldest responses of the address that has most are cut.
 */
export class UnreadBytes {
  readonly #readers = new Map<string, Reader>();
  readonly #reached: () => void;
  #all = 0;

  /** `reached` is called for every refusal, and for every response that is cut. */
  constructor(reached: () => void) {
    this.#reached = reached;
  }

  /** Counts the body of a response until the client has it. @throws RegistryError when its address has too much to read already. */
  add(outgoing: ServerResponse, address: string, bytes: number): void {
    if (bytes < largeBody || outgoing.req.method === "HEAD") return;
    const reader = this.#readers.get(address) ?? { bytes: 0, responses: new Map() };
    const after = reader.bytes + bytes;
    if ((reader.bytes > 0 && after > mostUnread.address) || !this.#makeRoom(bytes, after)) {
      this.#reached();
      throw new RegistryError(
        "TOOMANYREQUESTS",
        `${address} has ${reader.bytes} bytes of responses to read first; ask again when they are read`,
        { retryAfter: 1, reason: "client-limit" },
      );
    }
    this.#readers.set(address, reader);
    reader.bytes = after;
    reader.responses.set(outgoing, bytes);
    this.#all += bytes;
    outgoing.once("close", () => this.#remove(address, outgoing));
  }

  /** Cuts responses until there is room for `bytes`; false where no address has as much to read as `after`. */
  #makeRoom(bytes: number, after: number): boolean {
    while (this.#all > 0 && this.#all + bytes > mostUnread.all) {
      const [address, largest] = [...this.#readers].reduce((a, b) => (b[1].bytes > a[1].bytes ? b : a));
      const [oldest] = largest.responses.keys();
      if (!oldest || largest.bytes < after) return false;
      this.#reached();
      oldest.destroy();
      this.#remove(address, oldest);
    }
    return true;
  }

  /** Once for each: it may be cut by us, and close then. */
  #remove(address: string, outgoing: ServerResponse): void {
    const reader = this.#readers.get(address);
    const bytes = reader?.responses.get(outgoing);
    if (!reader || bytes === undefined) return;
    reader.responses.delete(outgoing);
    reader.bytes -= bytes;
    this.#all -= bytes;
    if (reader.responses.size === 0) this.#readers.delete(address);
  }
}

/** Sends a whole response: any but a blob with its bytes. */
function send(outgoing: ServerResponse, status: number, headers: Headers, body?: string | Buffer): void {
  outgoing.writeHead(status, headers);
  endBatched(outgoing, body);
}

/** Nothing shows more of a status line than this, in characters. */
const longestPhrase = 200;

/**
 * What clients print of a refused HEAD, which has no body: the reason phrase (RFC 9112 section 4), for which everything but printable ASCII
 * is escaped, since a message may name what a client or an upstream sent. It ends with who says it, and is cut after a clause.
 */
export function reasonPhrase(message: string): string {
  const ascii = message.replaceAll(
    /[^ -~]/g,
    (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  const [first = "", ...clauses] = ascii.split("; ");
  let phrase = first.slice(0, longestPhrase);
  for (const clause of clauses) {
    if (phrase.length + clause.length > longestPhrase) break;
    phrase += `; ${clause}`;
  }
  return `${phrase} - Hubcap`;
}

/** The headers of every response of the registry listener. Docker's own clients look for the version on `/v2/`. */
export function commonHeaders(namespace: string | undefined): Headers {
  const headers: Headers = {
    "Docker-Distribution-Api-Version": "registry/2.0",
    "X-Content-Type-Options": "nosniff",
  };
  if (namespace !== undefined) headers["OCI-Namespace"] = namespace;
  return headers;
}

export function sendManifest(
  outgoing: ServerResponse,
  { manifest, bytes, age, stale }: ManifestResult,
  headers: Headers,
): void {
  const all: Headers = {
    ...headers,
    "Content-Type": manifest.mediaType,
    "Content-Length": String(manifest.size),
    "Docker-Content-Digest": manifest.digest,
  };
  if (age !== undefined) all["Age"] = String(age);
  if (stale) Object.assign(all, staleHeaders(stale));
  send(outgoing, 200, all, bytes);
}

/** `admit` is called with the body's length before anything is sent. */
export function sendJson(
  outgoing: ServerResponse,
  body: unknown,
  headers: Headers,
  status = 200,
  admit?: (bytes: number) => void,
): void {
  const text = JSON.stringify(body);
  const length = Buffer.byteLength(text);
  admit?.(length);
  send(
    outgoing,
    status,
    { "Content-Type": "application/json", ...headers, "Content-Length": String(length) },
    text,
  );
}

/** `Age`, and a warning in the spec's only form: code 299, agent "-". */
export function staleHeaders(stale: Staleness | undefined): Headers {
  if (!stale) return {};
  const text = stale.warning.replaceAll(/[^ -~]|["\\]/g, " ").slice(0, 1000);
  return { Age: String(stale.age), Warning: `299 - "${text}"` };
}

export function sendError(outgoing: ServerResponse, error: RegistryError, headers: Headers): void {
  outgoing.statusMessage = reasonPhrase(error.message);
  sendJson(
    outgoing,
    error,
    { ...headers, ...(error.retryAfter !== undefined && { "Retry-After": String(error.retryAfter) }) },
    error.status,
  );
}

/**
 * Sends a blob without a stream: through web streams the same bytes cost twice the CPU, and through Node's own, whose buffers
 * cannot be reused, three times. After the headers a failure cuts the connection, and so does a client that reads nothing for
 * `stallMs`.
 */
export async function sendBlob(
  outgoing: ServerResponse,
  { size, content }: BlobResult,
  digest: Digest,
  range: string | undefined,
  headers: Headers,
  stallMs: number,
): Promise<void> {
  const all = {
    ...headers,
    "Content-Type": "application/octet-stream",
    "Docker-Content-Digest": digest,
    ...(size !== undefined && { "Accept-Ranges": content?.fromStart ? "none" : "bytes" }),
  };
  // A server may ignore a range (RFC 9110 section 14.2): clients then skip what they have.
  const wanted = size === undefined || content?.fromStart ? "whole" : parseRange(range, size);
  if (wanted === "unsatisfiable") {
    await content?.close();
    const error = new RegistryError("SIZE_INVALID");
    sendError(outgoing, error, { ...headers, "Content-Range": formatContentRange(wanted, size ?? 0) });
    return;
  }
  if (size !== undefined && wanted !== "whole") {
    const { start, end } = wanted;
    outgoing.writeHead(206, {
      ...all,
      "Content-Range": formatContentRange(wanted, size),
      "Content-Length": end - start,
    });
  } else {
    outgoing.writeHead(200, { ...all, ...(size !== undefined && { "Content-Length": size }) });
  }
  if (!content) return endBatched(outgoing);
  // Clients wait less long for headers than for bytes, and the first bytes of a fill may take a while.
  outgoing.flushHeaders();
  cutWhenStalled(outgoing, stallMs);
  await sendPieces(content, wanted === "whole" ? undefined : wanted, outgoing);
}

/** Sends content piece by piece, each once the one before has been taken, and cuts the connection when that fails. */
async function sendPieces(
  content: NonNullable<BlobResult["content"]>,
  span: Span | undefined,
  outgoing: ServerResponse,
): Promise<void> {
  const left = new AbortController();
  const leave = (): void => left.abort();
  // The connection's event: a response that waits behind another one on it has none.
  const { socket } = outgoing.req;
  if (socket.destroyed) leave();
  socket.once("close", leave);
  try {
    const write = (piece: Buffer): Promise<void> => written(piece, outgoing, left.signal);
    const sendfile = sendfileTo(outgoing, write);
    for await (const piece of content.pieces(span, left.signal, sendfile)) await write(piece);
    outgoing.end();
  } catch {
    // That a client left is no news, and the fill itself reports its failure.
    outgoing.destroy();
  } finally {
    socket.off("close", leave);
  }
}

/** Settles when the system has taken all of `piece`: until then its buffer may not be reused. */
function written(piece: Buffer, outgoing: ServerResponse, left: AbortSignal): Promise<void> {
  left.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // A closed connection may never call back.
  const leave = (): void => reject(left.reason);
  left.addEventListener("abort", leave, { once: true });
  outgoing.write(piece, (error) => {
    left.removeEventListener("abort", leave);
    if (error) reject(error);
    else resolve();
  });
  return promise;
}

/**
 * `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10) for a response that cost quota, or that was
 * refused for lack of it until `retryAfter` seconds from now. None without a limit. `now` is in ms since the epoch.
 */
export function rateLimitHeaders(
  bucket: Pick<QuotaBucket, "snapshot"> | undefined,
  now: number,
  retryAfter = Number.POSITIVE_INFINITY,
): Headers {
  if (!bucket) return {};
  const { name: upstream, limit, windowSeconds, remaining, nextFreeAt } = bucket.snapshot();
  if (limit === null || remaining === null) return {};
  const quota = { upstream, limit, windowSeconds, remaining };
  if (nextFreeAt === null) return { ...formatRateLimit(quota) };
  const reset = Math.max(0, (Date.parse(nextFreeAt) - now) / 1000);
  // Both are rounded up, and Retry-After should not be earlier than `t`.
  return { ...formatRateLimit({ ...quota, resetSeconds: Math.min(reset, retryAfter) }) };
}

type Body = string | Buffer | undefined;

/** How long a body may be to be sent as text. Node allocates memory first for longer ones. */
const shortBytes = 12 * 1024;

let ready: [outgoing: ServerResponse, body: Body][] = [];
let waiting: (() => void)[] = [];

/**
 * Ends a response whose headers are set, with the others of this turn. Sent one by one, each wakes a client that has just gone
 * to sleep; under load that took a third of the CPU of a manifest.
 */
export function endBatched(outgoing: ServerResponse, body?: Body): void {
  plan();
  ready.push([outgoing, body]);
}

/** Settles at the end of this turn, when its responses have been sent. */
export function afterReplies(): Promise<void> {
  plan();
  return new Promise((resolve) => waiting.push(resolve));
}

function plan(): void {
  if (ready.length === 0 && waiting.length === 0) setImmediate(finish);
}

function finish(): void {
  const [replies, callbacks] = [ready, waiting];
  [ready, waiting] = [[], []];
  for (const [outgoing, body] of replies) end(outgoing, body);
  for (const call of callbacks) call();
}

function end(outgoing: ServerResponse, body: Body): void {
  if (outgoing.req.method === "HEAD") outgoing.end();
  // As text with one byte a character, a body leaves in one piece with its headers, for a tenth less CPU.
  else if (body instanceof Buffer && body.length <= shortBytes)
    outgoing.end(body.toString("latin1"), "latin1");
  else outgoing.end(body);
}

/** Bytes that are sent before other requests get a turn, about a millisecond at most. */
const window = 2 * 1024 * 1024;

/** A connection that takes less than this at a time is slow: there Node's own writes cost less than our calls. */
const little = 128 * 1024;

/** What Node writes to a full connection, so that we learn when it takes more. */
const page = 4096;

/** Bytes of each response that were sent so: the `bytesWritten` of its connection does not include them. */
const sentBytes = new WeakMap<ServerResponse, number>();

/** Bytes of a response that its connection did not count. */
export function bytesBySendfile(outgoing: ServerResponse): number {
  return sentBytes.get(outgoing) ?? 0;
}

/**
 * A function that sends bytes of an open file, by its descriptor, from an offset on for as long as they are in memory, and
 * returns how many: for bytes on a disk the whole process would wait. `write` has Node write a piece, and settles when the
 * system has taken it. Undefined for a TLS connection, for a chunked response, and where the system lacks the calls.
 */
export function sendfileTo(outgoing: ServerResponse, write: (piece: Buffer) => Promise<void>) {
  const { socket } = outgoing.req;
  if (!syscalls || socket instanceof TLSSocket || outgoing.chunkedEncoding) return undefined;
  const { isCached, sendfile } = syscalls;
  return async (file: number, start: number, end: number): Promise<number> => {
    let at = start;
    while (at < end) {
      // Not ahead of bytes that Node still holds, nor of an earlier response on the connection, until which this one has no socket.
      if (!outgoing.socket || outgoing.writableLength > 0) break;
      const length = Math.min(window, end - at);
      if (!isCached(file, at, length)) break;
      const sent = sendfile(descriptorOf(socket), file, at, length);
      sentBytes.set(outgoing, bytesBySendfile(outgoing) + sent);
      at += sent;
      if (sent === length) {
        await afterReplies();
        continue;
      }
      if (sent < little) break;
      // The connection is full or broken: Node alone can wait for the one and report the other.
      const piece = Buffer.allocUnsafeSlow(Math.min(page, end - at));
      const read = readSync(file, piece, 0, piece.length, at);
      if (read === 0) break;
      await write(piece.subarray(0, read));
      at += read;
    }
    return at - start;
  };
}

/** Cuts the connection of a client that reads nothing for `stallMs` although bytes wait for it; calls `cut` before. */
export function cutWhenStalled(outgoing: ServerResponse, stallMs: number, cut: () => void = () => {}): void {
  let before = 0;
  outgoing.setTimeout(stallMs, () => {
    if (outgoing.destroyed || outgoing.writableLength === 0) return;
    const sent = bytesBySendfile(outgoing);
    if (sent > before) {
      // Node's timer does not see these bytes, so that a slow client needs another one.
      before = sent;
      outgoing.setTimeout(stallMs);
      return;
    }
    cut();
    outgoing.destroy();
  });
}
