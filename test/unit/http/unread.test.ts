/** What clients leave unread: bounded by address and in all, on every listener, and ended when it lasts. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { afterEach, expect, test, vi } from "vitest";
import { systemClock } from "../../../src/async/clock.ts";
import { forwardTo } from "../../../src/http/forwardToOwner.ts";
import { listen, listenAt, type Listener } from "../../../src/http/listen.ts";
import { UnreadBytes } from "../../../src/http/reply.ts";
import { handlerOf } from "../../../src/http/status.ts";
import { ask } from "../../support/ask.ts";
import { patience } from "../../support/patience.ts";

const mib = 1024 * 1024;

const open: Pick<Listener, "close">[] = [];
const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(open.splice(0).map((listener) => listener.close(0)));
});

async function serve(handle: RequestListener): Promise<Listener> {
  const limits = { connections: 1000, perAddress: 1000, stallMs: 60_000, reached: () => {} };
  const listener = await listen(handle, { host: "127.0.0.1", port: 0 }, limits, systemClock);
  open.push(listener);
  return listener;
}

/** A connection that asks once and never reads. */
async function unread({ port }: Listener, localAddress: string): Promise<Socket> {
  const socket = connect({ host: "127.0.0.1", port, localAddress });
  sockets.push(socket);
  socket.on("error", () => {}).pause();
  await once(socket, "connect");
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  return socket;
}

/** Sends bodies of `bytes`, as the registry listener does. */
function sender(unreadBytes: UnreadBytes, bytes: number, served: ServerResponse[]) {
  const body = Buffer.alloc(bytes);
  return (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    try {
      unreadBytes.add(outgoing, incoming.socket.remoteAddress ?? "", bytes);
      served.push(outgoing);
      outgoing.end(body);
    } catch {
      outgoing.writeHead(429).end();
    }
  };
}

test("one address has so much to read, and another one is served", async () => {
  const reached = vi.fn<() => void>();
  const served: ServerResponse[] = [];
  const listener = await serve(sender(new UnreadBytes(reached), 8 * mib, served));
  for (let time = 0; time < 8; time += 1) await unread(listener, "127.0.0.2");
  await expect.poll(() => served.length + reached.mock.calls.length, patience).toBe(8);
  expect(served).toHaveLength(4);
  expect((await ask(listener.url)).status).toBe(200);
});

test("however many addresses leave responses unread, they are bounded, and whoever has less to read is served", async () => {
  const reached = vi.fn<() => void>();
  const served: ServerResponse[] = [];
  const listener = await serve(sender(new UnreadBytes(reached), 8 * mib, served));
  const held = (): number =>
    served.filter(({ destroyed, writableFinished }) => !destroyed && !writableFinished).length;
  for (let from = 2; from < 42; from += 1) await unread(listener, `127.0.0.${from}`);
  await expect.poll(() => served.length, patience).toBe(40);
  await expect.poll(held, patience).toBeLessThanOrEqual(16);
  expect(reached).toHaveBeenCalledTimes(24);
  expect((await ask(listener.url)).status).toBe(200);
});

test("the status listener cuts connections of an address that leaves too much unread, and no others", async () => {
  const reached = vi.fn<() => void>();
  const text = "x".repeat(4 * mib);
  const app = { fetch: () => new Response(text) };
  const listener = await serve(handlerOf(app, new UnreadBytes(reached)));
  const from = await Promise.all(Array.from({ length: 30 }, () => unread(listener, "127.0.0.2")));
  await expect.poll(() => reached.mock.calls.length, patience).toBeGreaterThanOrEqual(20);
  for (const socket of from) socket.resume();
  const { status, body } = await ask(listener.url);
  expect([status, body.length]).toEqual([200, text.length]);
});

test("a client that reads nothing of a forwarded response is cut", async () => {
  const socketPath = `${tmpdir()}/hubcap-${randomUUID()}.sock`;
  const body = Buffer.alloc(32 * mib);
  let owner: ServerResponse | undefined;
  open.push(await listenAt(socketPath, (_, outgoing) => (owner = outgoing).end(body), systemClock));
  const stalled = vi.fn<() => void>();
  const listener = await serve(forwardTo(socketPath, 200, stalled));
  await unread(listener, "127.0.0.2");
  await expect.poll(() => stalled.mock.calls.length, patience).toBe(1);
  await expect.poll(() => owner?.destroyed, patience).toBe(true);
  expect((await ask(listener.url)).body).toHaveLength(body.length);
});
