/** Answers that leave at the end of a turn of the event loop. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { afterReplies, endBatched } from "../../../src/http/reply.ts";

/** Connections to a server that does `answer`. */
async function serve(
  answer: (incoming: IncomingMessage, outgoing: ServerResponse) => void,
): Promise<() => Socket> {
  const server = createServer(answer);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  return () => {
    const socket = connect(port, "127.0.0.1");
    onTestFinished(() => void socket.destroy());
    return socket;
  };
}

function request(method: string, path: string, close = true): string {
  return `${method} ${path} HTTP/1.1\r\nHost: a\r\n${close ? "Connection: close\r\n" : ""}\r\n`;
}

async function textOf(socket: Socket): Promise<string> {
  return Buffer.concat(await socket.toArray()).toString();
}

test("answers on one connection leave in the order of their requests, with the bodies that they have", async () => {
  const bodies: Record<string, string | Buffer | undefined> = {
    "/text": "text",
    "/bytes": Buffer.from("bytes"),
    "/long": Buffer.alloc(100_000, "long"),
    "/nothing": undefined,
  };
  const open = await serve(({ url = "" }, outgoing) => {
    const body = bodies[url];
    outgoing.writeHead(200, { "Content-Length": body?.length ?? 0, "X-For": url });
    endBatched(outgoing, body);
  });
  const socket = open();
  const paths = Object.keys(bodies);
  socket.write(paths.map((path) => request("GET", path, false)).join("") + request("HEAD", "/text"));
  const answers = (await textOf(socket)).split(/(?=HTTP\/1\.1 )/);
  const found = answers.map((answer) => {
    const [head = "", body = ""] = answer.split("\r\n\r\n");
    return [/X-For: (.*)/.exec(head)?.[1], body];
  });
  const sent = paths.map((path) => [path, String(bodies[path] ?? "")]);
  expect(found).toEqual([...sent, ["/text", ""]]);
});

test("a client that has left keeps no other from its answer", async () => {
  const waiting: ServerResponse[] = [];
  const all = Promise.withResolvers<void>();
  const open = await serve((_, outgoing) => {
    outgoing.writeHead(200, { "Content-Length": 2 });
    if (waiting.push(outgoing) === 3) all.resolve();
  });
  const [first, leaver, last] = [open(), open(), open()];
  for (const socket of [first, leaver, last]) socket.write(request("GET", "/"));
  await all.promise;
  const left = Promise.all(waiting.map((outgoing) => once(outgoing, "close")));
  const [, gone] = waiting;
  gone?.destroy();
  for (const outgoing of waiting) endBatched(outgoing, "{}");
  expect(await textOf(first)).toMatch(/{}$/);
  expect(await textOf(last)).toMatch(/{}$/);
  await left;
  expect(waiting.map(({ writableFinished }) => writableFinished)).toEqual([true, false, true]);
});

test("what waits for the end of the turn continues after the responses that were ready before", async () => {
  const order: string[] = [];
  const open = await serve((_, outgoing) => {
    void afterReplies().then(() => order.push("rested"));
    outgoing.once("prefinish", () => order.push("left"));
    outgoing.writeHead(200, { "Content-Length": 2 });
    endBatched(outgoing, "{}");
  });
  const socket = open();
  socket.write(request("GET", "/"));
  expect(await textOf(socket)).toMatch(/{}$/);
  expect(order).toEqual(["left", "rested"]);
});
