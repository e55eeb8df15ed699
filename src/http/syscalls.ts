/** System calls that Node has no function for, by its experimental `node:ffi`. All works without them, too. */
import type { Socket } from "node:net";

/** Calls of Linux, on descriptors of open files and connections. */
export interface Syscalls {
  /**
   * Moves at most `length` bytes of `file`, from `at` on, into a connection that does not block: sendfile(2).
   * Returns the number of bytes, 0 when it failed.
   */
  readonly sendfile: (connection: number, file: number, at: number, length: number) => number;
  /** Is that part of `file` in memory, as far as samples of it tell (preadv2(2) with RWF_NOWAIT)? */
  readonly isCached: (file: number, at: number, length: number) => boolean;
}

/** The distance between samples: as far as the kernel reads ahead by default, so that each of its reads is sampled. */
const stride = 128 * 1024;

/** `RWF_NOWAIT` of linux/fs.h: fails where the disk would have to be waited for. */
const nowait = 8;

/** Undefined where the system, or this build of Node, does not have the calls. */
export const syscalls: Syscalls | undefined = await load().catch(() => undefined);

/** The descriptor of a connection; -1, which is never one, once it is closed. Node has no public name for it. */
export function descriptorOf(
  socket: Socket & { readonly _handle?: { readonly fd?: number } | null },
): number {
  return socket._handle?.fd ?? -1;
}

async function load(): Promise<Syscalls | undefined> {
  if (process.platform !== "linux") return undefined;
  const { dlopen, getRawPointer } = await import("node:ffi");
  const { functions } = dlopen(null, {
    sendfile: { arguments: ["i32", "i32", "buffer", "u64"], return: "i64" },
    preadv2: { arguments: ["i32", "buffer", "i32", "i64", "i32"], return: "i64" },
  });
  const offset = new BigInt64Array(1);
  // A `struct iovec`, an address and a length, and behind it the byte that it points to: in one piece, which lives as long as
  // its calls do. The memory of a buffer does not move.
  const memory = new ArrayBuffer(24);
  const vector = new BigUint64Array(memory);
  vector.set([getRawPointer(memory) + 16n, 1n]);
  const isHere = (file: number, at: number): boolean =>
    functions.preadv2(file, vector, 1, BigInt(at), nowait) === 1n;
  // What does not work is found out now, and not during a request.
  if (functions.sendfile(-1, -1, offset, 1n) !== -1n || isHere(-1, 0)) return undefined;
  return {
    sendfile: (connection, file, at, length) => {
      offset[0] = BigInt(at);
      return Math.max(0, Number(functions.sendfile(connection, file, offset, BigInt(length))));
    },
    isCached: (file, at, length) => {
      for (let next = at; next < at + length; next += stride) if (!isHere(file, next)) return false;
      return isHere(file, at + length - 1);
    },
  };
}
