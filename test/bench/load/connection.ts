/** One HTTP/1.1 connection at the least cost, so that it is the server that is measured and not its client. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** What containerd says of itself and of what it can read; docker-registry gives an index only to those who name it. */
export const headers: Readonly<Record<string, string>> = {
  "User-Agent": "containerd/2.1.9",
  Accept: "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, */*",
};

const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
const ending = Buffer.from("\r\n\r\n");
const answerHead = /^HTTP\/1\.1 200 [^]*\r\ncontent-length: *(?<length>\d+)\r\n/i;

/** Given each piece of a body; its bytes are valid only until it returns. */
type Take = (piece: Buffer) => void;

interface Running {
  readonly hasBody: boolean;
  readonly take: Take | undefined;
  readonly over: PromiseWithResolvers<void>;
  /** What has come of the head. */
  head: Buffer;
  /** Bytes of the body that are still to come; undefined until the head is whole. */
  left: number | undefined;
}

export class Connection implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #host: string;
  #running: Running | undefined;
  /** Why nothing can be asked any more. */
  #over: Error | undefined;

  private constructor(url: string, readBytes: number) {
    const { hostname, port, host } = new URL(url);
    this.#host = host;
    const buffer = Buffer.allocUnsafeSlow(readBytes);
    const callback = (length: number): boolean => {
      this.#read(buffer.subarray(0, length));
      return true;
    };
    this.#socket = connect({
      host: hostname,
      port: Number(port),
      noDelay: true,
      onread: { buffer, callback },
    });
    this.#socket.on("error", (error) => this.#fail(error));
    this.#socket.on("close", () => this.#fail(new Error("the server has closed the connection")));
  }

  /** A connection to the host of `url` that reads at most `readBytes` at a time. */
  static async open(url: string, readBytes = 64 * 1024): Promise<Connection> {
    const connection = new Connection(url, readBytes);
    await once(connection.#socket, "connect");
    return connection;
  }

  /** Sends a request, the only one at a time, and resolves when all of the answer is there. Rejects unless it is a 200. */
  ask(method: "GET" | "HEAD", path: string, take?: Take): Promise<void> {
    // Of a connection that is closed already, nothing more is heard.
    if (this.#over) return Promise.reject(this.#over);
    const over = Promise.withResolvers<void>();
    this.#running = { hasBody: method === "GET", take, over, head: Buffer.alloc(0), left: undefined };
    this.#socket.write(
      `${method} ${path} HTTP/1.1\r\nHost: ${this.#host}\r\n${lines.join("")}\r\n`,
      "latin1",
    );
    return over.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
  }

  #read(piece: Buffer): void {
    const running = this.#running;
    if (!running) {
      this.#socket.destroy(new Error("the server said something unasked"));
      return;
    }
    const body = running.left === undefined ? this.#readHead(running, piece) : piece;
    if (running.left === undefined || !body) return;
    if (body.length > 0) running.take?.(body);
    running.left -= body.length;
    if (running.left > 0) return;
    this.#running = undefined;
    running.over.resolve();
  }

  /** What follows the head in `piece`, or undefined while the head is not whole. */
  #readHead(running: Running, piece: Buffer): Buffer | undefined {
    const all = running.head.length > 0 ? Buffer.concat([running.head, piece]) : piece;
    const end = all.indexOf(ending);
    if (end < 0) {
      running.head = Buffer.from(all);
      return undefined;
    }
    const head = all.toString("latin1", 0, end + 2);
    const length = answerHead.exec(head)?.groups?.["length"];
    if (length === undefined) {
      this.#socket.destroy(new Error(`not a 200 of a known length:\n${head}`));
      return undefined;
    }
    running.left = running.hasBody ? Number(length) : 0;
    return all.subarray(end + ending.length);
  }

  #fail(error: Error): void {
    this.#over ??= error;
    this.#running?.over.reject(error);
    this.#running = undefined;
  }
}
