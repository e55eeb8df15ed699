/** Bytes that go from a file to a connection by sendfile(2), unread: copying them twice costs more than sending them. */
import { readSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { TLSSocket } from "node:tls";
import { descriptorOf, syscalls } from "./syscalls.ts";
import { afterReplies } from "./batchedReplies.ts";

/** Bytes that are sent before others have their turn, which takes about a millisecond at most. */
const window = 2 * 1024 * 1024;

/** A connection that takes less than this at a time is a slow one: Node drips what it was given at less cost than our calls. */
const little = 128 * 1024;

/** What Node itself writes, to be told when a connection that was full takes more. */
const page = 4096;

/** What was sent so of each answer, in bytes: the `bytesWritten` of its connection does not know of it. */
const sentSo = new WeakMap<ServerResponse, number>();

/** Bytes of an answer that its connection did not count. */
export function bytesBySendfile(outgoing: ServerResponse): number {
  return sentSo.get(outgoing) ?? 0;
}

/**
 * What sends bytes of an open file, by its descriptor, from an offset on as far as they are in memory, and tells how many: for
 * what must come from a disk, everybody would have to wait. `write` has Node write a piece, and settles when the system has
 * taken it. Undefined for a connection that encrypts, for an answer in chunks, and where the system lacks the calls.
 */
export function sendfileTo(outgoing: ServerResponse, write: (piece: Buffer) => Promise<void>) {
  const { socket } = outgoing.req;
  if (!syscalls || socket instanceof TLSSocket || outgoing.chunkedEncoding) return undefined;
  const { isCached, sendfile } = syscalls;
  return async (file: number, start: number, end: number): Promise<number> => {
    let at = start;
    while (at < end) {
      // Bytes queue behind those that Node still holds, and an answer behind another one on its connection, which has none yet.
      if (!outgoing.socket || outgoing.writableLength > 0) break;
      const length = Math.min(window, end - at);
      if (!isCached(file, at, length)) break;
      const sent = sendfile(descriptorOf(socket), file, at, length);
      sentSo.set(outgoing, bytesBySendfile(outgoing) + sent);
      at += sent;
      if (sent === length) {
        await afterReplies();
        continue;
      }
      if (sent < little) break;
      // The connection is full, or broken: Node alone can wait for the one, and tell of the other.
      const piece = Buffer.allocUnsafeSlow(Math.min(page, end - at));
      const read = readSync(file, piece, 0, piece.length, at);
      if (read === 0) break;
      await write(piece.subarray(0, read));
      at += read;
    }
    return at - start;
  };
}
