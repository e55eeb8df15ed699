/** Listeners: who answers, an address, and limits on what a client may make us wait for. */
import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Certificates } from "./certificates.ts";
import { type ConnectionLimits, limitConnections } from "./limits.ts";

/** Where to listen: an IP address and a port, 0 for any free one. */
export interface Address {
  readonly host: string;
  readonly port: number;
  /** Other processes of this user listen there as well, and the system spreads connections over all (Linux). */
  readonly isShared?: boolean;
}

/** TLS for a listener. */
export interface Tls {
  readonly certificates: Certificates;
  /** Where clients are asked for certificates: is one without refused, or served without a name? */
  readonly clientCertificates: "required" | "optional";
  /** Told of every connection that came to nothing before its first request. */
  readonly failed: () => void;
}

/** A server that accepts connections. */
export interface Listener {
  /** `http://` or `https://` with the address and port it really has. */
  readonly url: string;
  readonly port: number;
  /** Takes no new connections; settles when those that are open have ended, or were cut after `graceMs`. */
  close(graceMs: number): Promise<void>;
}

const limits = {
  headersTimeout: 15_000,
  requestTimeout: 30_000,
  // How often the two above are looked at.
  connectionsCheckingInterval: 5000,
  // Longer than the 60 s of common load balancers and the 90 s of Go's clients, so that it is never us who close first.
  keepAliveTimeout: 95_000,
  maxHeaderSize: 16 * 1024,
};

/** Before it is over, none of the limits above counts. */
const handshakeTimeout = 10_000;

/** What to do when the system does not let us listen, by its code. */
const advices: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program does; stop it, or choose another port in registry.listen or status.listen",
  EACCES: "ports below 1024 are for root; choose another one in registry.listen or status.listen",
  EADDRNOTAVAIL: "this machine does not have that address; correct it in registry.listen or status.listen",
};

/** Has `answer` answer requests at an address, over TLS if that is given. @throws an error that says why it cannot. */
export async function listen(
  answer: RequestListener,
  { host, port, isShared = false }: Address,
  limited: ConnectionLimits,
  tls?: Tls,
): Promise<Listener> {
  const server = tls ? tlsServer(tls, answer) : createServer(limits, answer);
  limitConnections(server, limited);
  server.listen({ port, host, reusePort: isShared });
  await once(server, "listening").catch((error: NodeJS.ErrnoException) => {
    const at = `${host.includes(":") ? `[${host}]` : host}:${port}`;
    const advice = advices[error.code ?? ""] ?? error.message;
    throw new Error(`cannot listen on ${at}: ${advice} (${error.code})`, { cause: error });
  });
  // A TCP server that listens has an address of this form.
  const address = server.address() as AddressInfo;
  const url = urlOf(address, tls ? "https" : "http");
  return { url, port: address.port, close: (graceMs) => close(server, graceMs) };
}

/** Has `answer` answer requests at a Unix socket, for who may reach its path. */
export async function listenAt(path: string, answer: RequestListener): Promise<Pick<Listener, "close">> {
  const server = createServer(limits, answer);
  server.listen(path);
  await once(server, "listening");
  return { close: (graceMs) => close(server, graceMs) };
}

function tlsServer({ certificates, clientCertificates, failed }: Tls, answer: RequestListener): Server {
  const server = createTlsServer(
    {
      ...limits,
      ...certificates.context,
      handshakeTimeout,
      // No HTTP/2: its sessions would outlive what is limited here, and no runtime asks a mirror for it.
      ALPNProtocols: ["http/1.1"],
      requestCert: certificates.asksClients,
      rejectUnauthorized: certificates.asksClients && clientCertificates === "required",
    },
    answer,
  );
  server.on("tlsClientError", failed);
  if (clientCertificates === "optional") {
    // What was wrong with a certificate stays on OpenSSL's list, and Node takes it for a fault of the bytes that come next, for
    // which it cuts the connection. This call is one of those that leave nothing on it. It comes too late where a handshake
    // arrives in pieces and the certificate only claims to be of an authority of ours: such a client is refused.
    server.on("secureConnection", (socket) => void socket.getPeerCertificate());
  }
  certificates.follow((context) => server.setSecureContext(context));
  return server;
}

function urlOf({ address, family, port }: AddressInfo, scheme: "http" | "https"): string {
  return `${scheme}://${family === "IPv6" ? `[${address}]` : address}:${port}`;
}

async function close(server: Server, graceMs: number): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, "close");
  server.close();
  // A connection that was busy until now stays open for the next request, unless it is asked again and again.
  const tidy = setInterval(() => server.closeIdleConnections(), 100);
  const cut = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearInterval(tidy);
  clearTimeout(cut);
}
