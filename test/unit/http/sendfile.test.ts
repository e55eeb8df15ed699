/** Blobs that go from their file to the connection by sendfile(2): which do, which must not, and that all bytes arrive. */
import { systemClock } from "../../../src/async/clock.ts";
import { execFileSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, open, readFile, rm, truncate } from "node:fs/promises";
import {
  createServer,
  get,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from "node:http";
import { createServer as createTlsServer, get as getOverTls } from "node:https";
import { connect, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { syscalls } from "../../../src/http/syscalls.ts";
import { sendBlob, bytesBySendfile } from "../../../src/http/reply.ts";
import { digestOf, hexOf } from "../../../src/oci/digest.ts";
import { DiskBlobs } from "../../../src/store/disk/blobs.ts";
import type { Content } from "../../../src/store/fill/content.ts";
import { Fill } from "../../../src/store/fill/fill.ts";
import { makeAuthority } from "../../support/certificates.ts";
import { missing } from "../../support/missing.ts";
import { patience } from "../../support/patience.ts";

const bytes = randomFillSync(Buffer.alloc(24 * 1024 * 1024 + 12_345));
const digest = digestOf(bytes);
const root = await mkdtemp(join(tmpdir(), "hubcap-sendfile-"));
const path = join(root, "blobs/sha256", hexOf(digest).slice(0, 2), hexOf(digest));
const blobs = await DiskBlobs.at(root);
await blobs.put(digest, bytes);
afterAll(() => rm(root, { recursive: true }));

/** Does the file system say what of a file is in memory? overlayfs does not. */
async function saysWhatIsInMemory(): Promise<boolean> {
  await using file = await open(path);
  return syscalls?.isCached(file.fd, 0, bytes.length) ?? false;
}

const isSaid = await saysWhatIsInMemory();

/** Tests for where it does. */
function onSuchFileSystems(tests: () => void): void {
  describe("of a file system that says what is in memory", () => {
    if (isSaid) tests();
    else missing("the file system of temporary files does not say what is in memory");
  });
}

/** Has the system forget what it holds of the file in memory. */
function forget(): void {
  execFileSync("dd", [`if=${path}`, "iflag=nocache", "count=0", "status=none"]);
}

interface Sender {
  readonly listener: RequestListener;
  /** How many bytes of each answer went by sendfile, once it is over. */
  readonly sent: Promise<number>[];
  readonly outgoing: ServerResponse[];
}

/** Opens the blob, as it is held. */
const held = (): Promise<Content | undefined> => blobs.open(digest, bytes.length);

function sender(stallMs = 60_000, open = held): Sender {
  const sent: Promise<number>[] = [];
  const answers: ServerResponse[] = [];
  return {
    sent,
    outgoing: answers,
    listener: (incoming, outgoing) => {
      answers.push(outgoing);
      const send = async (): Promise<number> => {
        const content = await open();
        if (!content) throw new Error("the blob is gone");
        const answer = { outcome: "hit", size: content.size, content } as const;
        await sendBlob(outgoing, answer, digest, incoming.headers.range, {}, stallMs);
        return bytesBySendfile(outgoing);
      };
      sent.push(send());
    },
  };
}

async function serve(
  stallMs?: number,
  open?: () => Promise<Content | undefined>,
): Promise<Omit<Sender, "listener"> & { port: number }> {
  const { listener, ...seen } = sender(stallMs, open);
  const server = createServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return { ...seen, port: (server.address() as AddressInfo).port };
}

async function ask(port: number, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  const request = get({ host: "127.0.0.1", port, headers, agent: false });
  const [incoming] = (await once(request, "response")) as [IncomingMessage];
  return incoming;
}

async function body(incoming: IncomingMessage): Promise<Buffer> {
  return Buffer.concat(await incoming.toArray());
}

test("this system has the calls", () => {
  expect(syscalls).toBeDefined();
});

onSuchFileSystems(() => {
  // What a connection that has just begun takes is little, so that the first of it is sent the ordinary way.
  const most = 0.8 * bytes.length;

  beforeAll(async () => {
    await readFile(path);
  });

  test("most of what is in memory is sent by sendfile", async () => {
    const { port, sent } = await serve();
    expect((await body(await ask(port))).equals(bytes)).toBe(true);
    expect(await sent[0]).toBeGreaterThan(most);
  });

  test("a range that begins and ends anywhere, too", async () => {
    const { port, sent } = await serve();
    const incoming = await ask(port, { Range: "bytes=4097-20000000" });
    expect(incoming.statusCode).toBe(206);
    expect((await body(incoming)).equals(bytes.subarray(4097, 20_000_001))).toBe(true);
    expect(await sent[0]).toBeGreaterThan(10_000_000);
  });

  test("a client that reads slowly gets all of it", async () => {
    const { port, sent } = await serve();
    const pieces: Buffer[] = [];
    for await (const piece of await ask(port)) {
      pieces.push(piece as Buffer);
      if (pieces.length % 50 === 0) await wait(1);
    }
    expect(Buffer.concat(pieces).equals(bytes)).toBe(true);
    expect(await sent[0]).toBeGreaterThan(0);
  });

  test("what is not in memory is read, so that no other request waits for the disk", async () => {
    const { port, sent } = await serve();
    await using file = await open(path);
    forget();
    expect(syscalls?.isCached(file.fd, 0, bytes.length)).toBe(false);
    expect((await body(await ask(port))).equals(bytes)).toBe(true);
    expect(await sent[0]).toBeLessThan(bytes.length - 1024 * 1024);
    expect(syscalls?.isCached(file.fd, 0, bytes.length)).toBe(true);
  });

  test.for([
    { what: "a blob that is still coming is sent by it as far as it is written", size: bytes.length },
    { what: "one of unknown size, whose pieces are framed, does not", size: undefined },
  ])("$what", async ({ size }) => {
    await blobs.remove(digest);
    const ingest = await blobs.ingest(digest);
    const coming = (async function* coming() {
      for (let at = 0; at < bytes.length; at += 1024 * 1024) {
        yield bytes.subarray(at, at + 1024 * 1024);
        // What has come is on disk before the next.
        await wait(5);
      }
    })();
    const source = { offset: 0, size, body: coming, cancel: () => {} };
    const fill = new Fill(digest, ingest, source, {
      resume: () => Promise.reject(new Error("nothing breaks off here")),
      hold: async () => {},
      clock: systemClock,
    });
    const { port, sent } = await serve(undefined, async () => fill.open());
    const incoming = await ask(port);
    expect(incoming.headers["transfer-encoding"]).toBe(size === undefined ? "chunked" : undefined);
    expect((await body(incoming)).equals(bytes)).toBe(true);
    expect((await sent[0]) !== 0).toBe(size !== undefined);
    await fill.settled;
  });

  test("answers on one connection come one after the other", async () => {
    const { port, sent } = await serve();
    const socket = connect(port, "127.0.0.1");
    const head = "GET / HTTP/1.1\r\nHost: a\r\n";
    socket.write(`${head}\r\n${head}Connection: close\r\n\r\n`);
    const all = Buffer.concat(await socket.toArray());
    const first = all.indexOf("\r\n\r\n") + 4;
    expect(all.subarray(first, first + bytes.length).equals(bytes)).toBe(true);
    const rest = all.subarray(first + bytes.length);
    expect(rest.toString("latin1", 0, 15)).toBe("HTTP/1.1 200 OK");
    expect(rest.subarray(rest.indexOf("\r\n\r\n") + 4).equals(bytes)).toBe(true);
    expect(await sent[0]).toBeGreaterThan(0);
    expect(await sent[1]).toBeGreaterThan(0);
  });

  test("a client that leaves ends the sending", async () => {
    const { port, sent } = await serve();
    const incoming = await ask(port);
    await once(incoming, "readable");
    incoming.destroy();
    expect(await sent[0]).toBeLessThan(bytes.length);
  });

  test("a client that takes nothing more is cut", async () => {
    const { port, sent } = await serve(500);
    const incoming = await ask(port);
    await once(incoming, "readable");
    incoming.on("error", () => undefined);
    expect(await sent[0]).toBeGreaterThan(0);
    incoming.resume();
    await expect.poll(() => incoming.closed).toBe(true);
    expect(incoming.complete).toBe(false);
  });

  // Node's timer fires when this test says so: how fast a machine is must not decide who counts as slow.
  test("a client that takes something between two looks is not", async () => {
    const { port, outgoing } = await serve();
    const socket = connect({ port, host: "127.0.0.1" });
    onTestFinished(() => void socket.destroy());
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    socket.on("error", () => undefined);
    await once(socket, "readable");
    const [answer] = outgoing;
    if (!answer) throw new Error("no answer");
    const isFull = (): boolean => answer.writableLength > 0;
    await expect.poll(isFull, patience).toBe(true);
    for (let look = 0; look < 4; look += 1) {
      const before = bytesBySendfile(answer);
      // The system says that a connection takes more when a third of what it may hold is gone.
      const taken = (): boolean => {
        socket.read();
        return bytesBySendfile(answer) > before;
      };
      await expect.poll(taken, { ...patience, interval: 1 }).toBe(true);
      await expect.poll(isFull, patience).toBe(true);
      answer.emit("timeout");
      expect(answer.destroyed).toBe(false);
    }
    answer.emit("timeout");
    expect(answer.destroyed).toBe(true);
  });

  test("a file that has become shorter cuts the connection", async () => {
    const { port } = await serve();
    const incoming = await ask(port);
    await once(incoming, "readable");
    await truncate(path, 1024 * 1024);
    await expect(body(incoming)).rejects.toThrow("aborted");
    await blobs.put(digest, bytes);
  });
});

test("nothing bypasses the cipher of an encrypted connection", async () => {
  const authority = makeAuthority();
  const { listener, sent } = sender();
  const server = createTlsServer(authority.issue({ names: ["127.0.0.1"] }), listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const request = getOverTls({ host: "127.0.0.1", port, ca: authority.cert, agent: false });
  const [incoming] = (await once(request, "response")) as [IncomingMessage];
  expect((await body(incoming)).equals(bytes)).toBe(true);
  expect(await sent[0]).toBe(0);
});

test("a call that fails sends nothing", async () => {
  await using file = await open(path);
  expect(syscalls?.sendfile(-1, file.fd, 0, 10)).toBe(0);
  expect(syscalls?.isCached(-1, 0, 10)).toBe(false);
});

test("without Node's calls of the system, there is none", () => {
  const script = `console.log((await import(${JSON.stringify(import.meta.resolve("../../../src/http/syscalls.ts"))})).syscalls)`;
  const node = ["--no-experimental-ffi", "--input-type=module", "--eval", script];
  expect(execFileSync(process.execPath, node, { encoding: "utf8" })).toBe("undefined\n");
});
