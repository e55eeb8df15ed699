/** A client that pulls one blob over a connection of its own and compares every byte: light enough to run by the hundred. */
import { connect, type Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";

export interface ReaderOptions {
  /** The blob as it should be. */
  readonly bytes: Buffer;
  /** Takes no more than this; without it, all that comes. */
  readonly bytesPerSecond?: number;
  /** Leaves once it has this many bytes of the body. */
  readonly leaveAt?: number;
  /** Takes nothing at all, not even the headers. */
  readonly idle?: boolean;
}

/** How a pull ended. */
export interface Ending {
  /** 0 when no headers came. */
  readonly status: number;
  /** Bytes of the body. */
  readonly received: number;
  /** Whether the body came to its announced end. */
  readonly complete: boolean;
  /** Whether every byte that came was the blob's. */
  readonly right: boolean;
}

const pieceBytes = 256 * 1024;

export class Reader {
  readonly #options: ReaderOptions;
  readonly #socket: Socket;
  readonly #waiting: { readonly bytes: number; readonly resolve: () => void }[] = [];
  #head = "";
  #status = 0;
  #length = Number.NaN;
  #right = true;
  /** Bytes of the body so far. */
  received = 0;
  /** Resolves when the connection has ended, in whatever way. */
  readonly ended: Promise<Ending>;

  constructor(url: string, options: ReaderOptions) {
    const { hostname, port, pathname, search } = new URL(url);
    this.#options = options;
    this.#socket = connect({
      host: hostname,
      port: Number(port),
      onread: {
        // One buffer for all that comes: a hundred readers would otherwise spend their time on allocations.
        buffer: Buffer.allocUnsafe(options.bytesPerSecond === undefined ? pieceBytes : 4096),
        callback: (length, buffer) => this.#take(Buffer.from(buffer.buffer, buffer.byteOffset, length)),
      },
    });
    if (options.idle === true) this.#socket.pause();
    this.#socket.on("error", () => {});
    this.ended = new Promise((resolve) => {
      this.#socket.once("close", () => resolve(this.#ending()));
    });
    this.#socket.write(`GET ${pathname}${search} HTTP/1.1\r\nhost: ${hostname}\r\nconnection: close\r\n\r\n`);
  }

  /** Resolves when the body has come this far. Rejects when the connection ends before. */
  reached(bytes: number): Promise<void> {
    const reached = new Promise<void>((resolve) => {
      this.#waiting.push({ bytes, resolve });
      this.#tell();
    });
    const early = this.ended.then(({ received, status }) => {
      throw new Error(`the answer ${status} ended after ${received} of the ${bytes} bytes waited for`);
    });
    return Promise.race([reached, early]);
  }

  /** Breaks the connection off. */
  leave(): void {
    this.#socket.destroy();
  }

  #take(piece: Buffer): boolean {
    let body = piece;
    if (Number.isNaN(this.#length)) {
      const before = this.#head.length;
      this.#head += piece.toString("latin1");
      const end = this.#head.indexOf("\r\n\r\n");
      if (end < 0) return true;
      this.#status = Number(/^HTTP\/1\.1 (?<status>\d{3})/.exec(this.#head)?.groups?.["status"]);
      this.#length = Number(
        /^content-length: (?<length>\d+)\r$/im.exec(this.#head)?.groups?.["length"] ?? -1,
      );
      body = piece.subarray(end + 4 - before);
    }
    const until = this.received + body.length;
    this.#right &&= until <= this.#options.bytes.length && this.#isPart(body, this.received);
    this.received = until;
    this.#tell();
    const { leaveAt, bytesPerSecond } = this.#options;
    if (leaveAt !== undefined && until >= leaveAt) this.leave();
    else if (bytesPerSecond !== undefined) {
      void wait((body.length / bytesPerSecond) * 1000, undefined, { ref: false }).then(() =>
        this.#socket.resume(),
      );
      return false;
    }
    return true;
  }

  #isPart(piece: Buffer, at: number): boolean {
    return this.#options.bytes.compare(piece, 0, piece.length, at, at + piece.length) === 0;
  }

  #tell(): void {
    for (const { bytes, resolve } of this.#waiting) {
      if (bytes <= this.received) resolve();
    }
  }

  #ending(): Ending {
    const { received } = this;
    return { status: this.#status, received, complete: received === this.#length, right: this.#right };
  }
}

/** What a pull of all of a blob ends like. */
export function whole(bytes: Buffer): Ending {
  return { status: 200, received: bytes.length, complete: true, right: true };
}

/** All endings, with those that are the same only once. */
export async function endingsOf(readers: readonly Reader[]): Promise<Ending[]> {
  const endings = await Promise.all(readers.map((reader) => reader.ended));
  return [...new Map(endings.map((ending) => [JSON.stringify(ending), ending])).values()];
}
