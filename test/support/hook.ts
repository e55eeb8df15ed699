/** A webhook's other end: keeps what is posted, and answers as told. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";

export interface Posted {
  readonly path: string;
  readonly body: unknown;
}

export class HookServer {
  readonly #server = createServer((request, response) => {
    void this.#take(request, response);
  });
  readonly posted: Posted[] = [];
  /** What the next requests are answered; 200 when there is nothing more. */
  readonly statuses: number[] = [];

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.posted.push({ path: request.url ?? "", body: await json(request) });
    const status = this.statuses.shift() ?? 200;
    // A status of 0 is no answer at all.
    if (status === 0) request.socket.destroy();
    else response.writeHead(status, { location: "/elsewhere" }).end("ok");
  }

  async start(): Promise<this> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return this;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
