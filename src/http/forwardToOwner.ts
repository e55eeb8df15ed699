/** Forwards a worker's requests as they came to the owner, over a Unix socket that only this user's processes can open. */
import { Agent, request, type IncomingMessage, type RequestListener } from "node:http";
import { pipeline } from "node:stream";
import { cutWhenStalled } from "./reply.ts";

/** Names the client at that socket. Elsewhere it means nothing, and a client's own one is not forwarded. */
const clientHeader = "x-hubcap-client";

// RFC 9110 section 7.6.1, and what frames a body: no body is forwarded, since none is ever read.
const notForwarded = new Set([
  "connection",
  "content-length",
  "expect",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  clientHeader,
]);

/**
 * Responds with what the owner responds at the Unix socket `socketPath`. When one side ends early, so does the other; `stalled` is called when that is because the client has read nothing for
 * `stallMs`.
 */
export function forwardTo(socketPath: string, stallMs: number, stalled: () => void): RequestListener {
  const agent = new Agent({ keepAlive: true });
  return (incoming, outgoing) => {
    const { method = "", url: path = "", rawHeaders, socket } = incoming;
    if (outgoing.destroyed) return;
    const headers = pairs(rawHeaders).filter(([name]) => !notForwarded.has(name.toLowerCase()));
    const client = socket.remoteAddress;
    if (client !== undefined) headers.push([clientHeader, client]);
    const forwarded = request({ socketPath, agent, method, path, headers: headers.flat() });
    forwarded.on("error", () => outgoing.destroy());
    outgoing.on("close", () => {
      if (!outgoing.writableFinished) forwarded.destroy();
    });
    forwarded.on("response", (response) => {
      const kept = pairs(response.rawHeaders).filter(([name, value]) =>
        isForClient(name.toLowerCase(), value),
      );
      outgoing.writeHead(response.statusCode ?? 502, response.statusMessage, kept.flat());
      // Clients wait less long for headers than for bytes.
      outgoing.flushHeaders();
      cutWhenStalled(outgoing, stallMs, stalled);
      pipeline(response, outgoing, () => {});
    });
    forwarded.end();
  };
}

/** The client's address in a forwarded request. */
export function forwardedClientAddress({ headers }: IncomingMessage): string | undefined {
  const client = headers[clientHeader];
  return typeof client === "string" ? client : undefined;
}

function isForClient(name: string, value: string): boolean {
  return name === "content-length" || (name === "connection" && value === "close") || !notForwarded.has(name);
}

function pairs(rawHeaders: readonly string[]): [name: string, value: string][] {
  return Array.from({ length: rawHeaders.length / 2 }, (_, index) => [
    rawHeaders[index * 2] ?? "",
    rawHeaders[index * 2 + 1] ?? "",
  ]);
}
