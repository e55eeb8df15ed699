/** A webhook's other end: keeps what is posted, and answers as the test says. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { json } from "node:stream/consumers";
import { Receiver } from "./receiver.ts";

export interface Posted {
  readonly path: string;
  readonly body: unknown;
}

export class HookServer extends Receiver {
  readonly posted: Posted[] = [];
  /** What the next requests are answered; 200 when there is nothing more. */
  readonly statuses: number[] = [];

  protected override async take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.posted.push({ path: request.url ?? "", body: await json(request) });
    const status = this.statuses.shift() ?? 200;
    // A status of 0 is no answer at all.
    if (status === 0) request.socket.destroy();
    else response.writeHead(status, { location: "/elsewhere" }).end("ok");
  }
}
