/** Listeners: an app, an address, and limits on what a client may make us wait for. */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { getRequestListener } from "@hono/node-server";
import type { Hono } from "hono";

/** Where to listen: an IP address and a port, 0 for any free one. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** A server that accepts connections. */
export interface Listener {
  /** `http://` with the address and port it really has. */
  readonly url: string;
  /** Takes no new connections; settles when those that are open have ended, or were cut after `graceMs`. */
  close(graceMs: number): Promise<void>;
}

/** Serves `app` at `address`. @throws the system's error, such as EADDRINUSE. */
// eslint-disable-next-line typescript/no-explicit-any -- faces differ in their bindings, which the listener provides
export async function listen(app: Pick<Hono<any>, "fetch">, { host, port }: Address): Promise<Listener> {
  const answer = getRequestListener(app.fetch, { overrideGlobalObjects: false });
  const server = createServer(
    {
      headersTimeout: 15_000,
      requestTimeout: 30_000,
      // Longer than the 60 s of common load balancers and the 90 s of Go's clients, so that it is never us who close first.
      keepAliveTimeout: 95_000,
      maxHeaderSize: 16 * 1024,
    },
    (incoming, outgoing) => void answer(incoming, outgoing),
  );
  server.listen(port, host);
  await once(server, "listening");
  return { url: urlOf(server), close: (graceMs) => close(server, graceMs) };
}

function urlOf(server: Server): string {
  // A TCP server that listens has an address of this form.
  const { address, family, port } = server.address() as AddressInfo;
  return `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
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
