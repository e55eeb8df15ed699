/** What one client may take: connections, in all and by address, and blobs at once; and an end for clients that read nothing. */
import type { Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { RegistryError } from "../oci/error.ts";
import { cutWhenStalled } from "./reply.ts";

/** Why a connection was ended. */
export type ConnectionLimit = "connections" | "address" | "stalled";

export interface ConnectionLimits {
  readonly connections: number;
  readonly perAddress: number;
  /** For how many ms a client may read nothing of a response. */
  readonly stallMs: number;
  /** Called for every connection that is ended. */
  readonly reached: (limit: ConnectionLimit) => void;
}

/** How many there are of each name now, such as connections by address. A name with none takes no memory. */
export class Counter {
  readonly #counts = new Map<string, number>();

  of(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  /** Adds one; the returned function, called once, takes it away. */
  add(name: string): () => void {
    this.#counts.set(name, this.of(name) + 1);
    return () => {
      const left = this.of(name) - 1;
      if (left > 0) this.#counts.set(name, left);
      else this.#counts.delete(name);
    };
  }
}

/** Keeps `server` within `limits`. Connections beyond them are closed unread: a response would cost more than they do. */
export function limitConnections(
  server: Server,
  { connections, perAddress, stallMs, reached }: ConnectionLimits,
): void {
  const open = new Counter();
  let all = 0;
  server.on("connection", (socket: Socket) => {
    const address = socket.remoteAddress ?? "";
    const limit = all >= connections ? "connections" : open.of(address) >= perAddress ? "address" : undefined;
    if (limit) {
      reached(limit);
      socket.destroy();
      return;
    }
    all += 1;
    const remove = open.add(address);
    socket.once("close", () => {
      all -= 1;
      remove();
    });
  });
  server.on("request", (_, outgoing: ServerResponse) => {
    // From here on, what is left of the response waits for the client alone.
    outgoing.on("prefinish", () => {
      if (outgoing.writableLength > 0) cutWhenStalled(outgoing, stallMs, () => reached("stalled"));
    });
  });
}

/** When a client with too many blobs at once should try again, in seconds. */
const retryAfter = 5;

/** Limits how many blobs are sent to one client at once. */
export class StreamLimit {
  readonly #running = new Counter();
  readonly #perClient: number;
  readonly #reached: () => void;

  /** `reached` is called for every refusal. */
  constructor(perClient: number, reached: () => void) {
    this.#perClient = perClient;
    this.#reached = reached;
  }

  /** Begins one for `client`; the returned function ends it. @throws RegistryError when it has too many. */
  begin(client: string): () => void {
    const count = this.#running.of(client);
    if (count >= this.#perClient) {
      this.#reached();
      throw new RegistryError(
        "TOOMANYREQUESTS",
        `${client} is being sent ${count} blobs already, which is all that limits.streamsPerClient allows; try again when one has ended`,
        { retryAfter, reason: "client-limit" },
      );
    }
    return this.#running.add(client);
  }
}
