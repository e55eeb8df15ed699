/** A listening origin whose port stays its own: it can refuse connections for a while and come back. */
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { KeyAndCertificate } from "../certificates.ts";

export interface OriginOptions {
  readonly tls: KeyAndCertificate | undefined;
  /** The host name in the origin's URL. It listens on 127.0.0.1 all the same. */
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
}

export class Origin {
  readonly #options: OriginOptions;
  readonly #listener: RequestListener;
  #server: Server | undefined;
  #port: number;

  constructor(options: OriginOptions, listener: RequestListener) {
    this.#options = options;
    this.#listener = listener;
    this.#port = options.port;
  }

  /** `scheme://host:port`, once it has listened. */
  get url(): string {
    return `${this.#options.tls === undefined ? "http" : "https"}://${this.#options.host}:${this.#port}`;
  }

  get port(): number {
    return this.#port;
  }

  /** Accepts connections, on the same port as before. */
  async up(): Promise<void> {
    if (this.#server !== undefined) {
      return;
    }
    const { tls } = this.#options;
    const server =
      tls === undefined
        ? createServer(this.#listener)
        : createTlsServer({ key: tls.key, cert: tls.cert }, this.#listener);
    // Idle connections stay: that a server closes one just when it is used again is a fault of its own kind.
    server.keepAliveTimeout = 60_000;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, "127.0.0.1", resolve);
    });
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
  }

  /** Refuses connections, and cuts those that are open. */
  async down(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    }
  }
}
