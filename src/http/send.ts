/** How responses leave: those of one turn of the event loop together, and blobs that are in memory by sendfile(2). */
import { readSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { TLSSocket } from "node:tls";
import { descriptorOf, syscalls } from "./syscalls.ts";

type Body = string | Buffer | undefined;

/** How long a body may be to be sent as text. Node allocates memory first for longer ones. */
const shortBytes = 12 * 1024;

let ready: [outgoing: ServerResponse, body: Body][] = [];
let waiting: (() => void)[] = [];

/**
 * Ends a response whose headers are set, with the others of this turn. Sent one by one, each wakes a client that has just gone
 * to sleep; under load that took a third of the CPU of a manifest.
 */
export function endBatched(outgoing: ServerResponse, body?: Body): void {
  plan();
  ready.push([outgoing, body]);
}

/** Settles at the end of this turn, when its responses have been sent. */
export function afterReplies(): Promise<void> {
  plan();
  return new Promise((resolve) => waiting.push(resolve));
}

function plan(): void {
  if (ready.length === 0 && waiting.length === 0) setImmediate(finish);
}

function finish(): void {
  const [replies, callbacks] = [ready, waiting];
  [ready, waiting] = [[], []];
  for (const [outgoing, body] of replies) end(outgoing, body);
  for (const call of callbacks) call();
}

function end(outgoing: ServerResponse, body: Body): void {
  if (outgoing.req.method === "HEAD") outgoing.end();
  // As text with one byte a character, a body leaves in one piece with its headers, for a tenth less CPU.
  else if (body instanceof Buffer && body.length <= shortBytes)
    outgoing.end(body.toString("latin1"), "latin1");
  else outgoing.end(body);
}

/** Bytes that are sent before other requests get a turn, about a millisecond at most. */
const window = 2 * 1024 * 1024;

/** A connection that takes less than this at a time is slow: there Node's own writes cost less than our calls. */
const little = 128 * 1024;

/** What Node writes to a full connection, so that we learn when it takes more. */
const page = 4096;

/** Bytes of each response that were sent so: the `bytesWritten` of its connection does not include them. */
const sentBytes = new WeakMap<ServerResponse, number>();

/** Bytes of a response that its connection did not count. */
export function bytesBySendfile(outgoing: ServerResponse): number {
  return sentBytes.get(outgoing) ?? 0;
}

/**
 * A function that sends bytes of an open file, by its descriptor, from an offset on for as long as they are in memory, and
 * returns how many: for bytes on a disk the whole process would wait. `write` has Node write a piece, and settles when the
 * system has taken it. Undefined for a TLS connection, for a chunked response, and where the system lacks the calls.
 */
export function sendfileTo(outgoing: ServerResponse, write: (piece: Buffer) => Promise<void>) {
  const { socket } = outgoing.req;
  if (!syscalls || socket instanceof TLSSocket || outgoing.chunkedEncoding) return undefined;
  const { isCached, sendfile } = syscalls;
  return async (file: number, start: number, end: number): Promise<number> => {
    let at = start;
    while (at < end) {
      // Not ahead of bytes that Node still holds, nor of an earlier response on the connection, until which this one has no socket.
      if (!outgoing.socket || outgoing.writableLength > 0) break;
      const length = Math.min(window, end - at);
      if (!isCached(file, at, length)) break;
      const sent = sendfile(descriptorOf(socket), file, at, length);
      sentBytes.set(outgoing, bytesBySendfile(outgoing) + sent);
      at += sent;
      if (sent === length) {
        await afterReplies();
        continue;
      }
      if (sent < little) break;
      // The connection is full or broken: Node alone can wait for the one and report the other.
      const piece = Buffer.allocUnsafeSlow(Math.min(page, end - at));
      const read = readSync(file, piece, 0, piece.length, at);
      if (read === 0) break;
      await write(piece.subarray(0, read));
      at += read;
    }
    return at - start;
  };
}
