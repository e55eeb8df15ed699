/** Connections: how many there may be, in all and from one address, and an end for readers that take nothing. */
import type { Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { bytesBySendfile } from "./sendfile.ts";
import { Counter } from "./counter.ts";

/** What a connection was ended for. */
export type ConnectionLimit = "connections" | "address" | "stalled";

export interface ConnectionLimits {
  readonly connections: number;
  readonly perAddress: number;
  /** For how many ms a client may take nothing of an answer. */
  readonly stallMs: number;
  /** Told of every connection that is ended. */
  readonly reached: (limit: ConnectionLimit) => void;
}

/** Keeps `server` within `limits` from now on. What comes too much is closed unheard: to read it would cost more than it. */
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
    const leave = open.add(address);
    socket.once("close", () => {
      all -= 1;
      leave();
    });
  });
  server.on("request", (_, outgoing: ServerResponse) => {
    // By then all of an answer is on its way, or waits for a client that does not take it.
    outgoing.on("prefinish", () => {
      if (outgoing.writableLength > 0) cutWhenStalled(outgoing, stallMs, () => reached("stalled"));
    });
  });
}

/** Cuts a client that takes nothing for `stallMs` of what waits for it, once it was told by `cut`. */
export function cutWhenStalled(outgoing: ServerResponse, stallMs: number, cut: () => void = () => {}): void {
  let before = 0;
  outgoing.setTimeout(stallMs, () => {
    if (outgoing.destroyed || outgoing.writableLength === 0) return;
    const sent = bytesBySendfile(outgoing);
    if (sent > before) {
      // Node has its own eye on what it writes. Of this it knows nothing, so who takes it, slowly, has another while.
      before = sent;
      outgoing.setTimeout(stallMs);
      return;
    }
    cut();
    outgoing.destroy();
  });
}
