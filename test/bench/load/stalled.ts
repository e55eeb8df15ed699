/** Readers that ask for a blob, take the first bytes, and then nothing more. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** Opens `count` of them; resolves when each has had its first bytes. Disposing of the stack ends them. */
export async function stall(url: string, path: string, count: number): Promise<AsyncDisposableStack> {
  const { hostname, port, host } = new URL(url);
  const open = new AsyncDisposableStack();
  try {
    const readers = Array.from({ length: count }, async () => {
      const socket = open.adopt(connect(Number(port), hostname), (socket: Socket) => void socket.destroy());
      // A socket that no one reads from fills its small buffer and then stops.
      const begun = once(socket, "readable");
      socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      await begun;
    });
    await Promise.all(readers);
    return open;
  } catch (error) {
    await open.disposeAsync();
    throw error;
  }
}
