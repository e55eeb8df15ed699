/** The mirror, asked as a container runtime asks it. */
import { Agent, ProxyAgent, type Dispatcher } from "undici";
import { maxManifestBytes } from "../../oci/descriptor.ts";

export interface MirrorClientOptions {
  readonly url: URL;
  readonly proxy: URL | undefined;
  readonly ca: readonly string[];
  readonly token: string | undefined;
  readonly timeoutMs: number;
}

export interface MirrorAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** An error of the distribution API; empty where a body is none. */
interface MirrorError {
  readonly code: string;
  readonly message: string;
  /** Hubcap's reason for programs. */
  readonly reason: string | undefined;
}

export class MirrorClient {
  readonly #options: MirrorClientOptions;
  readonly #dispatcher: Dispatcher;

  constructor(options: MirrorClientOptions) {
    this.#options = options;
    const { proxy, ca, timeoutMs: timeout } = options;
    const tls = { ca: [...ca] };
    this.#dispatcher = proxy
      ? new ProxyAgent({ uri: proxy.href, requestTls: tls, connectTimeout: timeout })
      : new Agent({ connect: { ...tls, timeout } });
  }

  /** One answer, with `limit` bytes of its body at most. @throws whatever the connection fails with */
  async ask(
    method: "GET" | "HEAD",
    path: string,
    headers: Readonly<Record<string, string>> = {},
    limit = maxManifestBytes,
  ): Promise<MirrorAnswer> {
    const { url, token, timeoutMs } = this.#options;
    const shown = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const answer = await this.#dispatcher.request({
      origin: url.origin,
      path,
      method,
      headers: { "user-agent": "hubcap-doctor", ...shown, ...headers },
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    });
    const body = await firstBytes(answer.body as AsyncIterable<Buffer>, limit);
    return { status: answer.statusCode, headers: answer.headers, body };
  }

  async close(): Promise<void> {
    await this.#dispatcher.destroy();
  }
}

/** Reads the first error of the spec's `{"errors":[{code, message, detail}]}`, or what Hubcap's status listener answers: `{error, reason}`. */
export function readError({ body }: MirrorAnswer): MirrorError {
  try {
    const { errors, reason } = JSON.parse(body.toString()) as {
      readonly errors?: readonly ErrorBody[];
      readonly reason?: string;
    };
    const { code = "", message = "", detail } = errors?.[0] ?? {};
    return { code, message, reason: detail?.reason ?? reason };
  } catch {
    return { code: "", message: "", reason: undefined };
  }
}

interface ErrorBody {
  readonly code?: string;
  readonly message?: string;
  readonly detail?: { readonly reason?: string } | null;
}

/** The first `limit` bytes; the rest is not read. */
export async function firstBytes(body: AsyncIterable<Uint8Array>, limit: number): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of body) {
    pieces.push(piece);
    length += piece.length;
    if (length >= limit) break;
  }
  return Buffer.concat(pieces).subarray(0, limit);
}
