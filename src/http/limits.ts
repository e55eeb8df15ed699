/** What one client may take: connections, in all and by address, one request at a time on each; and blobs at once. */
import type { IncomingMessage, RequestListener, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { RegistryError } from "../oci/error.ts";
import { clientsPerHolder, holderOf } from "../quota/limits.ts";
import { cutWhenStalled } from "./reply.ts";

/** Why a connection was ended. */
export type ConnectionLimit = "connections" | "address" | "pipelined" | "stalled";

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

/** Requests that may wait on a connection for the one before them. No client of registries sends even two. */
const mostWaiting = 16;

type Request = [incoming: IncomingMessage, outgoing: ServerResponse];

/** The connections of one address. */
interface Holder {
  count: number;
  /** Those without a request, the longest idle first. */
  readonly idle: Set<Connection>;
}

interface Connection {
  readonly socket: Socket;
  readonly holder: Holder;
  isBusy: boolean;
  readonly waiting: Request[];
}

/**
 * The connections of a server. Beyond a limit, a new one takes the place of the longest idle one: of its own address, or, where
 * the server is full, of the address that has most. Where none is idle, the new one is closed unread. Requests on one connection
 * are handled one after the other, so that it is never owed more than one response.
 */
export class Connections {
  readonly #limits: ConnectionLimits;
  readonly #holders = new Map<string, Holder>();
  readonly #bySocket = new WeakMap<Socket, Connection>();
  #all = 0;

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
  }

  /** Keeps `server` within the limits. */
  follow(server: Server, isTls: boolean): void {
    server.on("connection", (socket: Socket) => this.#accept(socket));
    if (!isTls) return;
    // Requests come on another socket than the one that was accepted.
    const byPeer = new Map<string, Socket>();
    server.on("connection", (socket: Socket) => {
      const peer = peerOf(socket);
      byPeer.set(peer, socket);
      socket.once("close", () => byPeer.delete(peer));
    });
    server.on("secureConnection", (secure: Socket) => {
      const socket = byPeer.get(peerOf(secure));
      const connection = socket && this.#bySocket.get(socket);
      if (connection) this.#bySocket.set(secure, connection);
    });
  }

  /** `handle` for one request of each connection at a time. */
  inTurn(handle: RequestListener): RequestListener {
    return (incoming, outgoing) => {
      const connection = this.#bySocket.get(incoming.socket);
      if (!connection) handle(incoming, outgoing);
      else if (!connection.isBusy) this.#begin(connection, [incoming, outgoing], handle);
      else if (connection.waiting.length < mostWaiting) connection.waiting.push([incoming, outgoing]);
      else if (!connection.socket.destroyed) {
        this.#limits.reached("pipelined");
        connection.socket.destroy();
      }
    };
  }

  #begin(connection: Connection, [incoming, outgoing]: Request, handle: RequestListener): void {
    const { stallMs, reached } = this.#limits;
    const { holder, waiting } = connection;
    connection.isBusy = true;
    holder.idle.delete(connection);
    // From here on, what is left of the response waits for the client alone.
    outgoing.once("prefinish", () => {
      if (outgoing.writableLength > 0) cutWhenStalled(outgoing, stallMs, () => reached("stalled"));
    });
    outgoing.once("close", () => {
      connection.isBusy = false;
      if (connection.socket.destroyed) return;
      const next = waiting.shift();
      if (next) this.#begin(connection, next, handle);
      else holder.idle.add(connection);
    });
    handle(incoming, outgoing);
  }

  #accept(socket: Socket): void {
    const address = socket.remoteAddress ?? "";
    const holder = this.#holders.getOrInsertComputed(address, () => ({ count: 0, idle: new Set() }));
    const limit = this.#limitFor(holder);
    if (limit) {
      this.#limits.reached(limit);
      const [longest] = (limit === "address" ? holder : this.#largest(holder)).idle;
      (longest?.socket ?? socket).destroy();
      if (longest) this.#remove(longest);
      else if (holder.count > 0) return;
      else return void this.#holders.delete(address);
    }
    const connection: Connection = { socket, holder, isBusy: false, waiting: [] };
    this.#bySocket.set(socket, connection);
    this.#all += 1;
    holder.count += 1;
    holder.idle.add(connection);
    socket.once("close", () => {
      this.#remove(connection);
      if (holder.count === 0) this.#holders.delete(address);
    });
  }

  #limitFor({ count }: Holder): ConnectionLimit | undefined {
    if (count >= this.#limits.perAddress) return "address";
    return this.#all >= this.#limits.connections ? "connections" : undefined;
  }

  /** Whoever has most connections, or the newcomer where it has as many. */
  #largest(newcomer: Holder): Holder {
    let largest = newcomer;
    for (const holder of this.#holders.values()) {
      if (holder.count > largest.count && holder.idle.size > 0) largest = holder;
    }
    return largest;
  }

  /** Once for each: it may be closed by us, and then by the system. */
  #remove(connection: Connection): void {
    if (!this.#bySocket.delete(connection.socket)) return;
    this.#all -= 1;
    connection.holder.count -= 1;
    connection.holder.idle.delete(connection);
  }
}

function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
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

  /** Begins one that counts for `payer`; the returned function ends it. @throws RegistryError when there are too many. */
  begin(payer: string, client: string): () => void {
    const holder = holderOf(payer);
    const count = this.#running.of(payer);
    const ofHolder = holder === undefined ? 0 : this.#running.of(`@${holder}`);
    if (count >= this.#perClient || ofHolder >= this.#perClient * clientsPerHolder) {
      this.#reached();
      throw new RegistryError(
        "TOOMANYREQUESTS",
        `${client} is being sent ${count} blobs already, and all names of its address ${ofHolder}, which is all that ` +
          "limits.streamsPerClient allows; try again when one has ended",
        { retryAfter, reason: "client-limit" },
      );
    }
    const ends = [payer, ...(holder === undefined ? [] : [`@${holder}`])].map((key) =>
      this.#running.add(key),
    );
    return () => {
      for (const end of ends) end();
    };
  }
}
