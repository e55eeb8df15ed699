/** Cases R38 and R40: SIGTERM lets running downloads finish and begins nothing new; a start needs no upstream. */
import { connect } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { ask } from "../../support/ask.ts";
import { pullLikeContainerd } from "../../support/pull.ts";
import { endingsOf, whole, type Reader } from "../../support/reader.ts";
import { openSetup, type Setup, type Pushed } from "../../support/setup.ts";

const mib = 1024 * 1024;

let setup: Setup;

afterEach(() => setup.close());

/** 20 downloads of four blobs, all held at half. */
async function downloads(): Promise<{ pushed: Pushed[]; readers: Reader[]; release: () => void }> {
  const half = setup.hub.fault({ origin: "cdn", asks: "blob", kind: "stall", after: mib });
  const pushed = await Promise.all([1, 2, 3, 4].map((n) => setup.pushLayer(`library/app${n}`, 2 * mib)));
  const readers = pushed.flatMap((one) => Array.from({ length: 5 }, () => setup.read(one)));
  await Promise.all(readers.map((reader) => reader.reached(0.5 * mib)));
  return { pushed, readers, release: () => half.release() };
}

const readiness = async (): Promise<number> => (await ask(`${setup.hubcap.statusUrl}/readyz`)).status;

describe("SIGTERM", () => {
  it("R38 makes it unready at once, and lets 20 downloads finish", async () => {
    setup = await openSetup();
    const { pushed, readers, release } = await downloads();
    const ended = setup.hubcap.stop();
    await expect.poll(readiness).toBe(503);
    release();
    for (const one of pushed) {
      const ending = endingsOf(readers.splice(0, 5));
      expect(await ending).toEqual([whole(one.bytes)]);
    }
    expect(await ended).toEqual({ code: 0, signal: null });

    // What was on its way is held.
    await setup.hubcap.start();
    setup.hub.counts.reset();
    for (const one of pushed) expect(await setup.read(one).ended).toEqual(whole(one.bytes));
    expect(setup.hub.counts.requests).toEqual([]);
  });

  it("R38 begins nothing new for those who are connected", async () => {
    setup = await openSetup();
    const { pushed, release } = await downloads();
    const fresh = await setup.pushLayer("library/fresh", mib);
    const [first] = pushed;
    if (first === undefined) throw new Error("no blob");
    const connection = await keepAsking(setup.blobUrl(first));
    const ended = setup.hubcap.stop();
    await expect.poll(readiness).toBe(503);
    connection.ask(setup.blobUrl(fresh));
    release();
    const answers = await connection.answers;
    const second = answers.slice(answers.lastIndexOf("HTTP/1.1 ")).slice(0, 500);
    expect(second).toMatch(/^HTTP\/1\.1 503 /);
    expect(second).toMatch(/^retry-after: [1-9]/im);
    expect(setup.hub.counts.requests.filter(({ digest }) => digest === fresh.layer.digest)).toEqual([]);
    expect((await ended).code).toBe(0);
  });

  it("R38 cuts what outlives the grace, and ends all the same", async () => {
    setup = await openSetup({ config: { shutdown: { grace: "1s" } } });
    const { readers } = await downloads();
    expect(await setup.hubcap.stop()).toEqual({ code: 0, signal: null });
    const endings = await endingsOf(readers);
    expect(endings.filter(({ complete }) => complete)).toEqual([]);
  });

  it("R38 passed on by npm, which heard it too, is no second one", async () => {
    setup = await openSetup();
    const { pushed, readers, release } = await downloads();
    const ended = setup.hubcap.stop();
    await setup.hubcap.logged(({ msg }) => msg === "draining");
    process.kill(setup.hubcap.pid, "SIGTERM");
    // Answered only by who is still there.
    expect(await readiness()).toBe(503);
    release();
    const [first] = pushed;
    expect(await endingsOf(readers.slice(0, 5))).toEqual([whole(first?.bytes ?? Buffer.alloc(0))]);
    expect(await ended).toEqual({ code: 0, signal: null });
  });

  it("R38 sent twice ends it within a second, whatever is running", async () => {
    setup = await openSetup();
    await downloads();
    const { exit } = setup.hubcap;
    process.kill(setup.hubcap.pid, "SIGTERM");
    await expect.poll(readiness).toBe(503);
    const sent = performance.now();
    // One that comes at once is taken for what npm passes on.
    const insisting = setInterval(() => process.kill(setup.hubcap.pid, "SIGTERM"), 100);
    expect(await exit.finally(() => clearInterval(insisting))).toEqual({ code: 1, signal: null });
    // Ten times what is promised: far less than the downloads would take, on any machine.
    expect(performance.now() - sent).toBeLessThan(10_000);
  });
});

describe("an upstream that is down when Hubcap starts", () => {
  it("R40 keeps it from nothing: it is ready, and serves what it holds", async () => {
    setup = await openSetup({
      hub: { accounts: { cluster: { password: "secret" } } },
      upstream: { credential: { username: "cluster", password: "secret" } },
    });
    const { repository, image } = await setup.push("library/held");
    const pull = () =>
      pullLikeContainerd({ mirror: setup.hubcap.url, ns: "docker.io", repository, reference: "1" });
    expect((await pull()).errors).toEqual([]);
    await setup.hub.stop();
    // It resolves when Hubcap is ready.
    await setup.restart();
    const { errors, imageId, warnings } = await pull();
    expect({ errors, imageId }).toEqual({
      errors: [],
      imageId: image.platforms.get("linux/amd64")?.config.digest,
    });
    expect([...warnings]).toEqual([]);
  });
});

interface Connection {
  /** Sends one more request without waiting for the answer to the one before (RFC 9112 9.3.2). */
  ask(url: string): void;
  /** All that was answered. */
  readonly answers: Promise<string>;
}

/** A connection on which a first request has been sent and its answer has begun. */
async function keepAsking(first: string): Promise<Connection> {
  const { hostname, port } = new URL(first);
  const socket = connect(Number(port), hostname);
  const pieces: Buffer[] = [];
  const begun = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<string>();
  socket.on("data", (piece: Buffer) => {
    pieces.push(piece);
    begun.resolve();
  });
  socket.on("error", ended.reject);
  socket.on("close", () => ended.resolve(Buffer.concat(pieces).toString("latin1")));
  const ask = (url: string): void => {
    const { pathname, search } = new URL(url);
    socket.write(`GET ${pathname}${search} HTTP/1.1\r\nhost: ${hostname}\r\n\r\n`);
  };
  ask(first);
  await begun.promise;
  return { ask, answers: ended.promise };
}
