/** Handing requests on, as they came, to the process that decides, over a socket that only this user's processes reach. */
import { Agent, request, type IncomingMessage, type RequestListener } from "node:http";
import { pipeline } from "node:stream";

/** Says at that socket who the client is. Anywhere else it says nothing, and it is replaced before anything is handed on. */
const clientHeader = "x-hubcap-client";

// RFC 9110 section 7.6.1, and what frames a body: none is handed on, since nobody reads one.
const ofOneHop = new Set([
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

/** What answers by asking at the Unix socket `socketPath`. Bytes go at the pace of the slower side; who leaves ends both. */
export function forwardTo(socketPath: string): RequestListener {
  const agent = new Agent({ keepAlive: true });
  return (incoming, outgoing) => {
    const { method = "", url: path = "", rawHeaders, socket } = incoming;
    if (outgoing.destroyed) return;
    const headers = pairs(rawHeaders).filter(([name]) => !ofOneHop.has(name.toLowerCase()));
    const client = socket.remoteAddress;
    if (client !== undefined) headers.push([clientHeader, client]);
    const asked = request({ socketPath, agent, method, path, headers: headers.flat() });
    asked.on("error", () => outgoing.destroy());
    outgoing.on("close", () => {
      if (!outgoing.writableFinished) asked.destroy();
    });
    asked.on("response", (answer) => {
      const kept = pairs(answer.rawHeaders).filter(([name, value]) => isForClient(name.toLowerCase(), value));
      outgoing.writeHead(answer.statusCode ?? 502, kept.flat());
      // Its clients wait for headers with a shorter patience than for bytes.
      outgoing.flushHeaders();
      pipeline(answer, outgoing, () => {});
    });
    asked.end();
  };
}

/** At that socket: the client's address, as the process says that handed on its request. */
export function forwardedClientAddress({ headers }: IncomingMessage): string | undefined {
  const client = headers[clientHeader];
  return typeof client === "string" ? client : undefined;
}

function isForClient(name: string, value: string): boolean {
  return name === "content-length" || (name === "connection" && value === "close") || !ofOneHop.has(name);
}

function pairs(rawHeaders: readonly string[]): [name: string, value: string][] {
  return Array.from({ length: rawHeaders.length / 2 }, (_, index) => [
    rawHeaders[index * 2] ?? "",
    rawHeaders[index * 2 + 1] ?? "",
  ]);
}
