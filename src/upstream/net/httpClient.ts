/** HTTP to one upstream and to where it redirects: one request, one answer, nothing followed, repeated or decoded. */
import { Agent, type buildConnector, type Dispatcher } from "undici";
import { guardedConnector } from "./connector.ts";
import { UpstreamError, connectionError } from "../error.ts";

/** When a request is given up, in milliseconds. */
export interface Timeouts {
  readonly connectMs: number;
  readonly tokenMs: number;
  /** Until the headers of a manifest or a list are there. */
  readonly headersMs: number;
  readonly blobHeadersMs: number;
  /** Until a connection is free for a download: less than a client waits for an answer. */
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
  /** Its body may be long: it must not stand in the way of short ones. */
  readonly isBulk?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** An answer whose body is still to be read. It must be read to its end or discarded, or its connection is lost. */
export interface Reply {
  readonly url: URL;
  readonly status: number;
  readonly headers: Headers;
  readonly body: Dispatcher.ResponseData["body"];
}

export interface HttpClientOptions {
  readonly allowPrivateAddresses: boolean;
  readonly ca?: string | undefined;
  readonly timeouts: Timeouts;
  /** Told until when the certificate of an origin is good. */
  readonly onCertificate?: ((origin: string, notAfter: number) => void) | undefined;
  /** Stands in for {@link guardedConnector} in tests of the guard. */
  readonly connect?: buildConnector.connector | undefined;
}

// 64 connections to an origin. As many as there may be requests under way at once (16 unless configured) are for what is
// short, so that none of them waits for a connection.
const otherConnections = 16;

/** Connections to one origin that downloads may take. */
export const blobConnections = 48;

/**
 * Bytes of a download that may have come before they are taken. With undici's own 64 KiB, which is one read, it stops and goes
 * on after every read: a fourteenth of what a cold blob takes.
 */
const bulkAheadBytes = 512 * 1024;

/** The connections of one upstream. */
export class HttpClient {
  readonly #blobs: Agent;
  readonly #others: Agent;
  readonly #stallMs: number;

  constructor({
    allowPrivateAddresses,
    ca,
    timeouts,
    onCertificate: certified,
    connect: given,
  }: HttpClientOptions) {
    const { connectMs } = timeouts;
    const connect =
      given ?? guardedConnector({ allowPrivateAddresses, ca, connectMs, onCertificate: certified });
    this.#blobs = new Agent({ connect, connections: blobConnections, allowH2: false, pipelining: 1 });
    this.#others = new Agent({ connect, connections: otherConnections, allowH2: false, pipelining: 1 });
    this.#stallMs = timeouts.stallMs;
  }

  /** @throws UpstreamError when no answer comes, or the reason of the message's signal. */
  async send(message: HttpRequest): Promise<Reply> {
    const { url, method, headers, body, signal } = message;
    try {
      const answer = await (message.isBulk ? this.#blobs : this.#others).request({
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers,
        body: body ?? null,
        headersTimeout: message.headersMs,
        bodyTimeout: this.#stallMs,
        signal: signal ?? null,
        ...(message.isBulk && { highWaterMark: bulkAheadBytes }),
        // undici would close the connection after every HEAD, and revalidation is nothing but HEADs.
        reset: false,
      });
      // A body may break while nobody reads it yet.
      answer.body.on("error", () => undefined);
      return { url, status: answer.statusCode, headers: answer.headers, body: answer.body };
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

/** Reads what is left of an unwanted body if it is short, so that its connection can be used again, or cuts it. */
export function discard({ body }: Reply): void {
  body.dump({ limit: 64 * 1024, signal: AbortSignal.timeout(5000) }).catch(() => undefined);
}

/**
 * The whole body.
 * @throws UpstreamError "corrupt" when it is longer than `limit` bytes, "unreachable" when it breaks or takes longer than `withinMs`.
 */
export async function readBody(reply: Reply, limit: number, withinMs: number): Promise<Buffer> {
  const { body, url } = reply;
  const tooLong = (): UpstreamError => {
    body.destroy();
    return new UpstreamError("corrupt", `${url.host} sent more than the ${limit} bytes that are accepted`);
  };
  if (Number(reply.headers["content-length"]) > limit) throw tooLong();
  const late = new UpstreamError("unreachable", `${url.host} did not finish its answer in time`);
  const timer = setTimeout(() => body.destroy(late), withinMs);
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
    clearTimeout(timer);
  }
}
