/** Requests as bytes on a socket: what no HTTP client would send, or would change on the way. */
import { connect } from "node:net";

/** What came back on one connection. */
export interface RawReply {
  /** The status of the first answer, 0 when there was none. */
  readonly status: number;
  /** Everything that was sent back, until the other side ended the connection. */
  readonly text: string;
  /** Bytes of the request that the other side's system took. */
  readonly taken: number;
}

/**
 * Writes `pieces` one after the other, each when the one before is on its way, and resolves when the other side has ended the
 * connection. A request that is answered in the ordinary way has to ask for that: `Connection: close`.
 */
export function sendRaw(
  url: string,
  pieces: Iterable<string | Uint8Array>,
  signal?: AbortSignal,
): Promise<RawReply> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    const answer: Buffer[] = [];
    const rest = pieces[Symbol.iterator]();
    const next = (): void => {
      const piece = rest.next();
      if (!piece.done && !socket.destroyed) socket.write(piece.value, (error) => error ?? next());
    };
    socket.on("connect", next);
    socket.on("data", (piece: Buffer) => answer.push(piece));
    // It may be cut while we are still writing, which is an answer too.
    socket.on("error", () => {});
    socket.on("close", () => {
      const text = Buffer.concat(answer).toString("latin1");
      const status = Number(/^HTTP\/1\.[01] (?<status>\d{3}) /.exec(text)?.groups?.["status"] ?? 0);
      resolve({ status, text, taken: socket.bytesWritten - socket.writableLength });
    });
    signal?.addEventListener("abort", () => socket.destroy());
  });
}

/** Asks for `path` exactly as it is written. */
export function askRaw(
  url: string,
  path: string,
  options: { readonly method?: string; readonly headers?: readonly string[] } = {},
): Promise<RawReply> {
  const { method = "GET", headers = [] } = options;
  const lines = [`${method} ${path} HTTP/1.1`, "Host: mirror", "Connection: close", ...headers, "", ""];
  return sendRaw(url, [Buffer.from(lines.join("\r\n"), "latin1")]);
}
