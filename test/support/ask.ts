/** One HTTP request as it is: no redirects, no decompression, and how the answer ended. */
import {
  request as plainRequest,
  type Agent,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from "node:http";
import { request as tlsRequest, type Agent as TlsAgent } from "node:https";

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string;
  readonly agent?: Agent | TlsAgent;
  /** Certificates to trust, in PEM. */
  readonly ca?: string;
  /** A client's certificate and its key, in PEM. */
  readonly cert?: string;
  readonly key?: string;
  readonly signal?: AbortSignal;
  /** Milliseconds until headers must have come. */
  readonly headerTimeout?: number;
}

export interface Reply {
  readonly status: number;
  /** The reason phrase of the status line. */
  readonly phrase: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** Why the body ended before its end; undefined when it did not. */
  readonly broken: Error | undefined;
}

/** What a registry says went wrong. */
export interface ErrorEntry {
  readonly code: string | undefined;
  readonly message: string;
}

/** The first error that an answer tells, as the distribution specification has it; without a code when it tells none. */
export function errorOf({ status, body }: Reply): ErrorEntry {
  const read = status < 400 || body.length === 0 ? "{}" : body.toString();
  const { errors: [first] = [] } = JSON.parse(read) as { errors?: ErrorEntry[] };
  return first ?? { code: undefined, message: "" };
}

/** Sends a request and resolves with the answer as soon as its headers are there. Rejects when there are none. */
export function openReply(url: string, options: AskOptions = {}): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const send = url.startsWith("https:") ? tlsRequest : plainRequest;
    const headers = Object.fromEntries(
      Object.entries(options.headers ?? {}).map(([name, value]): [string, string | string[]] => [
        name,
        typeof value === "string" ? value : [...value],
      ]),
    );
    const request = send(
      url,
      {
        method: options.method ?? "GET",
        headers,
        ...(options.agent === undefined ? {} : { agent: options.agent }),
        ...(options.ca === undefined ? {} : { ca: options.ca }),
        ...(options.cert === undefined ? {} : { cert: options.cert }),
        ...(options.key === undefined ? {} : { key: options.key }),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      },
      (response) => {
        clearTimeout(timer);
        resolve(response);
      },
    );
    const timer =
      options.headerTimeout === undefined
        ? undefined
        : setTimeout(
            () => request.destroy(new Error("timeout awaiting response headers")),
            options.headerTimeout,
          );
    request.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    request.end(options.body);
  });
}

/** Sends a request and resolves with the whole answer, broken or not. */
export async function ask(url: string, options: AskOptions = {}): Promise<Reply> {
  const response = await openReply(url, options);
  const pieces: Buffer[] = [];
  let broken: Error | undefined;
  try {
    for await (const piece of response as AsyncIterable<Buffer>) {
      pieces.push(piece);
    }
  } catch (error) {
    broken = error instanceof Error ? error : new Error(String(error));
  }
  return {
    status: response.statusCode ?? 0,
    phrase: response.statusMessage ?? "",
    headers: response.headers,
    body: Buffer.concat(pieces),
    broken,
  };
}
