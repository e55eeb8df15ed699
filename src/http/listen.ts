/** Listeners: an address, what handles its requests, and limits on how long a client may make us wait. */
import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Clock } from "../async/clock.ts";
import type { Certificates } from "./certificates.ts";
import { type ConnectionLimits, Connections } from "./limits.ts";

/** Where to listen: an IP address and a port, 0 for any free one. */
export interface Address {
  readonly host: string;
  readonly port: number;
  /** Do other processes of this user listen there, too? Linux spreads connections over all of them. */
  readonly isShared?: boolean;
}

/** TLS for a listener. */
export interface Tls {
  readonly certificates: Certificates;
  /** Where clients are asked for certificates: are those without one refused, or are they anonymous? */
  readonly clientCertificates: "required" | "optional";
  /** Called for every connection whose handshake failed. */
  readonly failed: () => void;
}

/** A server that accepts connections. */
export interface Listener {
  /** `http://` or `https://` with the address and the port, also where any free one was asked for. */
  readonly url: string;
  readonly port: number;
  /** Accepts no more connections; settles when those that are open have ended, or were cut after `graceMs`. */
  close(graceMs: number): Promise<void>;
}

const limits = {
  headersTimeout: 15_000,
  requestTimeout: 30_000,
  // How often the two above are checked.
  connectionsCheckingInterval: 5000,
  // Longer than the 60 s of common load balancers and the 90 s of Go's clients, so that they close first.
  keepAliveTimeout: 95_000,
  maxHeaderSize: 16 * 1024,
};

/** The limits above apply only after the handshake. */
const handshakeTimeout = 10_000;

/** What to do when the system does not let us listen, by its error code. */
const advices: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program does; stop it, or choose another port in registry.listen or status.listen",
  EACCES: "ports below 1024 are for root; choose another one in registry.listen or status.listen",
  EADDRNOTAVAIL: "this machine does not have that address; correct it in registry.listen or status.listen",
};

/** Listens at an address, over TLS if that is given. @throws Error that says what to do when it cannot */
export async function listen(
  handle: RequestListener,
  { host, port, isShared = false }: Address,
  limited: ConnectionLimits,
  clock: Clock,
  tls?: Tls,
): Promise<Listener> {
  const connections = new Connections(limited);
  const inTurn = connections.inTurn(handle);
  const server = tls ? tlsServer(tls, inTurn) : createServer(limits, inTurn);
  connections.follow(server, tls !== undefined);
  server.listen({ port, host, reusePort: isShared });
  await once(server, "listening").catch((error: NodeJS.ErrnoException) => {
    const at = `${host.includes(":") ? `[${host}]` : host}:${port}`;
    const advice = advices[error.code ?? ""] ?? error.message;
    throw new Error(`cannot listen on ${at}: ${advice} (${error.code})`, { cause: error });
  });
  // A TCP server that listens has an address of this form.
  const address = server.address() as AddressInfo;
  const url = urlOf(address, tls ? "https" : "http");
  return { url, port: address.port, close: (graceMs) => close(server, graceMs, clock) };
}

/** Listens at a Unix socket, for processes that may open its path. */
export async function listenAt(
  path: string,
  handle: RequestListener,
  clock: Clock,
): Promise<Pick<Listener, "close">> {
  const server = createServer(limits, handle);
  server.listen(path);
  await once(server, "listening");
  return { close: (graceMs) => close(server, graceMs, clock) };
}

function tlsServer({ certificates, clientCertificates, failed }: Tls, handle: RequestListener): Server {
  const server = createTlsServer(
    {
      ...limits,
      ...certificates.context,
      handshakeTimeout,
      // No HTTP/2: its sessions are not within these limits, and no runtime uses it with a mirror.
      ALPNProtocols: ["http/1.1"],
      requestCert: certificates.asksClients,
      rejectUnauthorized: certificates.asksClients && clientCertificates === "required",
    },
    handle,
  );
  server.on("tlsClientError", failed);
  if (clientCertificates === "optional") {
    // What was wrong with a certificate stays in OpenSSL's error queue, and Node takes it for an error in the next bytes and cuts
    // the connection. This call empties the queue. It is too late where a handshake arrives in pieces and the certificate
    // only claims to be of an authority of ours: such a client is refused.
    server.on("secureConnection", (socket) => void socket.getPeerCertificate());
  }
  certificates.follow((context) => server.setSecureContext(context));
  return server;
}

function urlOf({ address, family, port }: AddressInfo, scheme: "http" | "https"): string {
  return `${scheme}://${family === "IPv6" ? `[${address}]` : address}:${port}`;
}

async function close(server: Server, graceMs: number, clock: Clock): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, "close");
  server.close();
  // Connections that were busy until now would stay open for a next request.
  const stopClosing = clock.every(100, () => server.closeIdleConnections());
  const cancelCut = clock.after(graceMs, () => server.closeAllConnections());
  await closed;
  stopClosing();
  cancelCut();
}
