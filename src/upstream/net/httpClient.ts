/**
 * HTTP to one upstream and to where it redirects: one request, one reply; follows, repeats and decodes nothing. The
 * address that its guard has checked is the one that is dialled.
 */
import { Agent, buildConnector, type Dispatcher } from "undici";
import type { Clock } from "../../async/clock.ts";
import type { Headers } from "../../quota/limits.ts";
import { PrivateAddressError, UpstreamError, connectionError } from "../error.ts";
import { lookup as systemLookup } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import { getCACertificates, TLSSocket } from "node:tls";
import { isLinkLocal, isLoopback, isPrivateAddress } from "./address.ts";

/** When a request is given up, in milliseconds. */
export interface Timeouts {
  readonly connectMs: number;
  readonly tokenMs: number;
  /** Until the headers of a manifest or a list are there. */
  readonly headersMs: number;
  readonly blobHeadersMs: number;
  /** Until a connection is free for a download: shorter than a client waits for an answer. */
  readonly connectionMs: number;
  /** Without a byte of a body. */
  readonly stallMs: number;
}

export const defaultTimeouts: Timeouts = {
  connectMs: 5000,
  tokenMs: 10_000,
  headersMs: 15_000,
  blobHeadersMs: 20_000,
  connectionMs: 15_000,
  stallMs: 30_000,
};

export interface HttpRequest {
  readonly url: URL;
  readonly method: "GET" | "HEAD" | "POST";
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body?: string;
  readonly headersMs: number;
  /** The reply may be long: it uses connections of its own, so that it holds up no short one. */
  readonly isBulk?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** A reply whose body is still to be read. It must be read to its end or discarded, or its connection is lost. */
export class Reply {
  readonly url: URL;
  readonly status: number;
  readonly headers: Headers;
  readonly body: Dispatcher.ResponseData["body"];
  readonly #clock: Clock;

  constructor(url: URL, { statusCode, headers, body }: Dispatcher.ResponseData, clock: Clock) {
    this.url = url;
    this.status = statusCode;
    this.headers = headers;
    this.body = body;
    this.#clock = clock;
  }

  /** Reads what is left of an unwanted body if it is short, so that its connection can be used again, or cuts it. */
  discard(): void {
    const late = new AbortController();
    const cancel = this.#clock.after(5000, () => late.abort());
    this.body
      .dump({ limit: 64 * 1024, signal: late.signal })
      .catch(() => undefined)
      .finally(cancel);
  }

  /**
   * The whole body.
   * @throws UpstreamError "corrupt" when it is longer than `limit` bytes, "unreachable" when it breaks or takes longer than `withinMs`.
   */
  async read(limit: number, withinMs: number): Promise<Buffer> {
    const { body, url } = this;
    const tooLong = (): UpstreamError => {
      body.destroy();
      return new UpstreamError("corrupt", `${url.host} sent more than the ${limit} bytes that are accepted`);
    };
    if (Number(this.headers["content-length"]) > limit) throw tooLong();
    const cancel = this.#clock.after(withinMs, () =>
      body.destroy(new UpstreamError("unreachable", `${url.host} did not finish its answer in time`)),
    );
    const chunks: Buffer[] = [];
    let length = 0;
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) {
        length += chunk.length;
        if (length > limit) throw tooLong();
        chunks.push(chunk);
      }
      return Buffer.concat(chunks, length);
    } catch (error) {
      throw error instanceof UpstreamError ? error : connectionError(error, url.host);
    } finally {
      cancel();
    }
  }
}

interface HttpClientOptions {
  readonly allowPrivateAddresses: boolean;
  /** The names or literals that the configuration dials; see {@link ConnectorOptions.hosts}. */
  readonly hosts: readonly string[];
  readonly ca?: string | undefined;
  readonly timeouts: Timeouts;
  /** Called with the end of validity of an origin's certificate, in ms since the epoch. */
  readonly onCertificate?: ((origin: string, notAfter: number) => void) | undefined;
  /** Opens connections; {@link guardedConnector} unless given. A simulated network can stand in here. */
  readonly connect?: buildConnector.connector | undefined;
  readonly clock: Clock;
}

// 64 connections to an origin. Short requests have as many as may be under way at once (16 unless configured), so that none
// of them waits for a connection.
const otherConnections = 16;

/** Connections to one origin that downloads may take. */
export const blobConnections = 48;

/**
 * Bytes of a download that are buffered before they are read. With undici's own 64 KiB, which is one read, it pauses and
 * resumes after every read: a fourteenth of the time of a cold blob.
 */
const bulkAheadBytes = 512 * 1024;

/** The connections of one upstream. */
export class HttpClient {
  readonly #blobs: Agent;
  readonly #others: Agent;
  readonly #stallMs: number;
  readonly #clock: Clock;

  constructor({
    allowPrivateAddresses,
    hosts,
    ca,
    timeouts,
    onCertificate,
    connect: given,
    clock,
  }: HttpClientOptions) {
    const { connectMs } = timeouts;
    const connect = given ?? guardedConnector({ allowPrivateAddresses, hosts, ca, connectMs, onCertificate });
    this.#blobs = new Agent({ connect, connections: blobConnections, allowH2: false, pipelining: 1 });
    this.#others = new Agent({ connect, connections: otherConnections, allowH2: false, pipelining: 1 });
    this.#stallMs = timeouts.stallMs;
    this.#clock = clock;
  }

  /** @throws UpstreamError when no reply comes, or the reason of the request's signal. */
  async send(request: HttpRequest): Promise<Reply> {
    const { url, method, headers, body, signal } = request;
    try {
      const answer = await (request.isBulk ? this.#blobs : this.#others).request({
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers,
        body: body ?? null,
        headersTimeout: request.headersMs,
        bodyTimeout: this.#stallMs,
        signal: signal ?? null,
        ...(request.isBulk && { highWaterMark: bulkAheadBytes }),
        // undici would close the connection after every HEAD, and revalidation is nothing but HEADs.
        reset: false,
      });
      // A body may break before anything reads it.
      answer.body.on("error", () => undefined);
      return new Reply(url, answer, this.#clock);
    } catch (error) {
      signal?.throwIfAborted();
      throw connectionError(error, url.host);
    }
  }

  /** Cuts whatever is still running. */
  async close(): Promise<void> {
    await Promise.all([this.#blobs.destroy(), this.#others.destroy()]);
  }
}

interface ConnectorOptions {
  readonly allowPrivateAddresses: boolean;
  /** Where private addresses are allowed, only these may be on this machine: a redirect must not lead to what listens beside us. */
  readonly hosts: readonly string[];
  /** Certificates (PEM) that are trusted besides the system's. */
  readonly ca?: string | undefined;
  readonly connectMs: number;
  /** Called with every TLS connection, with the end of validity of its origin's certificate, in ms since the epoch. */
  readonly onCertificate?: ((origin: string, notAfter: number) => void) | undefined;
  /** The resolver that is guarded; the system's unless given. */
  readonly lookup?: LookupFunction;
}

/** A connector for undici. Its sockets speak HTTP/1.1 only: one HTTP/2 connection would carry all blobs of an origin. */
export function guardedConnector(options: ConnectorOptions): buildConnector.connector {
  const { allowPrivateAddresses } = options;
  const hosts = new Set(options.hosts);
  const refuses = (host: string, address: string): boolean =>
    isLinkLocal(address) ||
    (allowPrivateAddresses ? isLoopback(address) && !hosts.has(host) : isPrivateAddress(address));
  const refusal = (host: string): PrivateAddressError =>
    new PrivateAddressError(
      allowPrivateAddresses
        ? `${host} is, or resolves to, an address of this machine or of its link, to which no redirect leads`
        : `${host} is, or resolves to, a private address, which needs allowPrivateAddresses`,
    );
  const dial = buildConnector({
    allowH2: false,
    timeout: options.connectMs,
    // Explicit, because NODE_TLS_REJECT_UNAUTHORIZED=0 would otherwise let any certificate pass at every upstream.
    rejectUnauthorized: true,
    lookup: guarded(options.lookup ?? systemLookup, refuses, refusal),
    ...(options.ca === undefined ? {} : { ca: [...getCACertificates("default"), options.ca] }),
  });
  const { onCertificate } = options;
  const connect: buildConnector.connector = onCertificate
    ? (target, callback) =>
        dial(target, (...result) => {
          report(target, result[1], onCertificate);
          callback(...result);
        })
    : dial;
  return (target, callback) => {
    // Node never resolves a literal, so `lookup` does not see it.
    const host = target.hostname.replace(/^\[|\]$/g, "");
    if (isIP(host) !== 0 && refuses(host, host)) callback(refusal(host), null);
    else connect(target, callback);
  };
}

function report(
  { protocol, hostname, port }: buildConnector.Options,
  socket: unknown,
  onCertificate: (origin: string, notAfter: number) => void,
): void {
  if (!(socket instanceof TLSSocket)) return;
  const notAfter = Date.parse(socket.getPeerCertificate().valid_to);
  if (Number.isFinite(notAfter)) onCertificate(new URL(`${protocol}//${hostname}:${port}`).origin, notAfter);
}

/** `resolve` without the addresses that are refused. What is left is what gets dialled: nothing is resolved twice (DNS rebinding). */
function guarded(
  resolve: LookupFunction,
  refuses: (host: string, address: string) => boolean,
  refusal: (host: string) => PrivateAddressError,
): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, "", 0);
      const all = Array.isArray(found) ? found : [{ address: found, family: isIP(found) }];
      const allowed = all.filter(({ address }) => !refuses(hostname, address));
      const [first] = allowed;
      if (!first) return callback(refusal(hostname), "", 0);
      if (options.all) return callback(null, allowed);
      return callback(null, first.address, first.family);
    });
  };
}

/** Until when the certificates of an upstream are good. */

/**
 * For {@link ConnectorOptions.onCertificate}: calls `report` with the earliest end of the certificates that `origins` showed
 * last. Origins that are only redirected to come and go, and are left out.
 */
export function watchCertificates(
  origins: readonly string[],
  report: (notAfter: number) => void,
): (origin: string, notAfter: number) => void {
  const ends = new Map<string, number>();
  return (origin, notAfter) => {
    if (!origins.includes(origin)) return;
    ends.set(origin, notAfter);
    report(Math.min(...ends.values()));
  };
}
