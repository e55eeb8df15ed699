/** The requests of one pull: sent, repeated when limited, verified and counted. */
import { createHash } from "node:crypto";
import type { Agent, IncomingHttpHeaders, IncomingMessage } from "node:http";
import { openReply } from "./ask.ts";

/** How a pull went. It went well when `errors` is empty. */
export interface PullResult {
  requests: number;
  /** Body bytes of blobs and manifests. */
  bytes: number;
  /** Digests of what was received whole and proven. */
  readonly digests: string[];
  /** What ended the pull, in the words of the client. */
  readonly errors: string[];
  /** How often each status was answered. */
  readonly statuses: Record<number, number>;
  /** `Warning` headers that came along. */
  readonly warnings: Set<string>;
  /** `Retry-After` of refusals. */
  readonly retryAfters: string[];
  /** The digest that the tag stood for. */
  root: string | undefined;
  /** The digest of the platform's manifest. */
  manifest: string | undefined;
  /** The digest of the config, which clients show as the image ID. */
  imageId: string | undefined;
}

/** A manifest that was received. */
export interface Got {
  readonly bytes: Buffer;
  readonly digest: string;
}

export interface SessionOptions {
  readonly mirror: string;
  readonly agent: Agent;
  readonly headers: Readonly<Record<string, string>>;
  readonly attempts: number;
  /** Waits before a 429 is repeated; without it, it is repeated at once. */
  readonly pause: ((seconds: number) => Promise<void>) | undefined;
  readonly headerTimeout: number;
  readonly signal: AbortSignal | undefined;
}

interface WantedBlob {
  readonly digest: string;
  readonly size: number;
  readonly path: string;
}

export class PullSession {
  readonly #options: SessionOptions;
  readonly result: PullResult = {
    requests: 0,
    bytes: 0,
    digests: [],
    errors: [],
    statuses: {},
    warnings: new Set(),
    retryAfters: [],
    root: undefined,
    manifest: undefined,
    imageId: undefined,
  };

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  /** Sends a request whose body is of no interest. */
  async send(
    method: string,
    path: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<{ status: number; headers: IncomingHttpHeaders }> {
    const response = await this.#open(method, path, headers);
    await drain(response);
    return { status: response.statusCode ?? 0, headers: response.headers };
  }

  /** A manifest; proven by the digest when it is known. Throws when it is not answered with 200, broken or another one. */
  async manifest(
    path: string,
    headers: Readonly<Record<string, string | readonly string[]>>,
    digest: string | undefined,
  ): Promise<Got> {
    const response = await this.#open("GET", path, headers);
    const pieces: Buffer[] = [];
    const found = await this.#receive(response, path, (piece) => pieces.push(piece));
    if (digest !== undefined && digest !== found.digest) {
      throw new Error(`GET ${path}: expected ${digest}, received ${found.digest}`);
    }
    this.result.digests.push(found.digest);
    return { bytes: Buffer.concat(pieces), digest: found.digest };
  }

  /** Blobs, some at a time. Throws the first failure when all that were begun have ended. */
  async blobs(wanted: readonly WantedBlob[], parallel: number): Promise<void> {
    const queue = [...wanted];
    let failure: unknown;
    const worker = async (): Promise<void> => {
      for (let blob = queue.shift(); blob !== undefined && failure === undefined; blob = queue.shift()) {
        try {
          await this.#blob(blob);
        } catch (error) {
          failure ??= error;
        }
      }
    };
    await Promise.all(Array.from({ length: parallel }, worker));
    if (failure !== undefined) {
      throw failure instanceof Error ? failure : new Error("a blob failed", { cause: failure });
    }
  }

  async #blob({ digest, size, path }: WantedBlob): Promise<void> {
    const response = await this.#open("GET", path, { accept: "*/*" });
    const found = await this.#receive(response, path, () => {});
    if (found.digest !== digest || found.size !== size) {
      throw new Error(
        `GET ${path}: expected ${digest} (${size} bytes), received ${found.digest} (${found.size})`,
      );
    }
    this.result.digests.push(digest);
  }

  async #receive(
    response: IncomingMessage,
    path: string,
    take: (piece: Buffer) => void,
  ): Promise<{ digest: string; size: number }> {
    if (response.statusCode !== 200) {
      const body = (await drain(response)).toString().slice(0, 500);
      throw new Error(`GET ${path}: ${response.statusCode} ${body}`);
    }
    const hash = createHash("sha256");
    let size = 0;
    for await (const piece of response as AsyncIterable<Buffer>) {
      hash.update(piece);
      size += piece.length;
      this.result.bytes += piece.length;
      take(piece);
    }
    return { digest: `sha256:${hash.digest("hex")}`, size };
  }

  /** Sends a request, again when it is limited, and resolves with the last answer's headers. */
  async #open(
    method: string,
    path: string,
    headers: Readonly<Record<string, string | readonly string[]>>,
  ): Promise<IncomingMessage> {
    const { mirror, agent, attempts, pause, headerTimeout, signal } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      this.result.requests += 1;
      const response = await openReply(`${mirror}${path}`, {
        method,
        headers: { ...this.#options.headers, ...headers },
        agent,
        headerTimeout,
        ...(signal === undefined ? {} : { signal }),
      });
      const status = response.statusCode ?? 0;
      this.result.statuses[status] = (this.result.statuses[status] ?? 0) + 1;
      const { warning } = response.headers;
      if (warning !== undefined) {
        this.result.warnings.add(warning);
      }
      const retryAfter = response.headers["retry-after"];
      if (retryAfter !== undefined) {
        this.result.retryAfters.push(retryAfter);
      }
      if (status !== 429 || attempt >= attempts) {
        return response;
      }
      await drain(response);
      // containers/image: Retry-After up to 60 s, else 2, 4, 8 seconds.
      await pause?.(Math.min(60, Number(retryAfter ?? 2 ** attempt)));
    }
  }
}

async function drain(response: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of response as AsyncIterable<Buffer>) {
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
