import { systemClock } from "../../../../src/async/clock.ts";
import { Parties } from "../../../../src/async/concurrency.ts";
import type { ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import { digestOf, type Digest } from "../../../../src/oci/digest.ts";
import { blobConnections } from "../../../../src/upstream/net/httpClient.ts";
import type { BlobStream } from "../../../../src/upstream/exchange.ts";
import type { RegistryOptions } from "../../../../src/upstream/registry.ts";
import { asked, collect, manifest, nginx, reply, replyManifest, serve, upstream } from "../server.ts";

const patient = { ...asked, signal: new AbortController().signal };
/** For requests that must be refused, where none is served after a wait. */
const soon = { timeouts: { connectionMs: 50 } };
/** For requests that must be refused beside others that must be served. */
const later = { timeouts: { connectionMs: 1000 } };
const tooMany = {
  kind: "unreachable",
  status: undefined,
  message: expect.stringContaining("too many downloads from test.example are running"),
};

function digestOfBlob(index: number): Digest {
  return digestOf(Buffer.from(`blob ${index}`));
}

/** A registry that begins every blob, and ends one when a test does. */
async function slowRegistry(options: Partial<RegistryOptions> = {}) {
  const open: ServerResponse[] = [];
  const server = await serve((request, response) => {
    if (!request.url?.includes("/blobs/")) return replyManifest(response);
    response.writeHead(200, { "content-length": 10 });
    response.write("01234");
    return open.push(response);
  });
  const { registry, bucket } = upstream(server.url, options);
  const get = (index: number, by = patient): Promise<BlobStream> =>
    registry.getBlob(nginx, digestOfBlob(index), 0, by);
  /** Begins as many downloads as may run. */
  const fill = (): Promise<BlobStream[]> =>
    Promise.all(Array.from({ length: blobConnections }, (_, index) => get(index)));
  return { server, registry, bucket, open, get, fill };
}

/** Resolves when as many requests for blobs have arrived. */
async function blobs(server: { readonly asked: string[] }, count: number): Promise<void> {
  const arrived = (): number => server.asked.filter((line) => line.includes("/blobs/")).length;
  await expect.poll(arrived).toBeGreaterThanOrEqual(count);
  expect(arrived()).toBe(count);
}

describe("when all connections for downloads are taken", () => {
  test("another one takes no permit and nothing else waits for it; in the end its error says why", async () => {
    const { registry, bucket, get, fill } = await slowRegistry(soon);
    const streams = await fill();
    const before = bucket.taken.length;
    await expect(get(100)).rejects.toMatchObject(tooMany);
    expect(bucket.taken).toHaveLength(before);
    await registry.getManifest(nginx, digestOf(manifest), asked);
    await registry.headManifest(nginx, digestOf(manifest), asked);
    // Nothing is wrong with the upstream.
    expect(registry.health.failures).toBe(0);
    for (const stream of streams) stream.cancel();
  });

  test("one that ends makes space for one", async () => {
    const { get, fill } = await slowRegistry(later);
    const [first] = await fill();
    first?.cancel();
    await get(100);
    await expect(get(101)).rejects.toMatchObject(tooMany);
  });

  test("an aborted download takes no connection", async () => {
    const { server, get, fill } = await slowRegistry();
    const [first] = await fill();
    const leaver = new AbortController();
    const left = get(100, { ...asked, signal: leaver.signal });
    const stays = get(101);
    leaver.abort(new Error("gone"));
    await expect(left).rejects.toThrow("gone");
    first?.cancel();
    await stays;
    await blobs(server, blobConnections + 1);
  });

  test("one that an address waits for which has many goes when another joins it that has few", async () => {
    const { get, server } = await slowRegistry();
    const many = { ...asked.purpose, address: "10.0.0.1" };
    const most = (blobConnections * 2) / 3;
    await Promise.all(Array.from({ length: most }, (_, index) => get(index, { ...patient, purpose: many })));
    const joined = new Parties();
    const waits = get(100, { ...patient, purpose: { ...many, joined } });
    await blobs(server, most);
    joined.add({ address: "10.0.0.2", payer: "node-2" });
    await waits;
  });

  test("a resumed download is first in the queue, and does not give up", async () => {
    const { registry, get, fill, server } = await slowRegistry(later);
    const [first, second] = await fill();
    const late = get(100);
    const resumed = registry.getBlob(nginx, digestOfBlob(7), 3, asked);
    await expect(late).rejects.toMatchObject(tooMany);
    const waits = get(101, patient);
    first?.cancel();
    await resumed;
    expect(server.asked.at(-1)).toContain(digestOfBlob(7));
    second?.cancel();
    await waits;
  });
});

describe("a connection is free for the next download", () => {
  type Slow = Awaited<ReturnType<typeof slowRegistry>>;
  const ends: readonly (readonly [how: string, end: (stream: BlobStream, slow: Slow) => unknown])[] = [
    [
      "when a body has been read to its end",
      async (stream, { open }) => {
        for (const response of open) response.end("56789");
        await collect(stream.body);
      },
    ],
    ["when a body is not wanted any more", (stream) => stream.cancel()],
    [
      "when its reader stops in the middle",
      async (stream) => {
        for await (const _ of stream.body) break;
      },
    ],
    [
      "when the upstream breaks off",
      async (stream, { open }) => {
        for (const response of open) response.destroy();
        await expect(collect(stream.body)).rejects.toMatchObject({ kind: "unreachable" });
      },
    ],
  ];

  test.each(ends)("%s", async (_, end) => {
    const slow = await slowRegistry();
    const [first] = await slow.fill();
    if (first) await end(first, slow);
    (await slow.get(100)).cancel();
  });

  const answers: readonly (readonly [what: string, answer: (response: ServerResponse) => unknown])[] = [
    ["404", (response) => reply(response, 404, {}, "none")],
    ["403", (response) => reply(response, 403)],
    ["429", (response) => reply(response, 429, {}, "slower")],
    ["501", (response) => reply(response, 501, {}, "x".repeat(100_000))],
    ["another part than was asked for", (response) => reply(response, 206, {}, "x")],
    ["an encoding", (response) => reply(response, 200, { "content-encoding": "gzip" }, "x")],
    ["a broken connection", (response) => response.destroy()],
    ["a redirect to nowhere", (response) => reply(response, 307, {}, "elsewhere")],
  ];

  test.each(answers)("after %s", async (_, answer) => {
    const server = await serve((request, response) =>
      request.url === "/v2/" ? reply(response, 200) : answer(response),
    );
    let now = 0;
    const { registry, bucket } = upstream(server.url, {
      timeouts: { connectionMs: 5000 },
      clock: { ...systemClock, now: () => (now += 1e6) },
    });
    for (let index = 0; index <= blobConnections; index += 1) {
      const error = await registry.getBlob(nginx, digestOfBlob(index), 0, patient).catch((e: unknown) => e);
      expect(error).not.toMatchObject(tooMany);
    }
    expect(bucket.kinds.filter((kind) => kind === "blob").length).toBeGreaterThan(blobConnections);
  });

  test("when its wait for an answer is given up", async () => {
    let isSilent = true;
    const server = await serve((request, response) => {
      if (request.url === "/v2/" || !isSilent) reply(response, 200);
    });
    const { registry } = upstream(server.url);
    const leaver = new AbortController();
    const by = { ...asked, signal: leaver.signal };
    const all = Array.from({ length: blobConnections }, (_, index) =>
      registry.getBlob(nginx, digestOfBlob(index), 0, by),
    );
    await blobs(server, blobConnections);
    leaver.abort(new Error("gone"));
    expect((await Promise.allSettled(all)).every(({ status }) => status === "rejected")).toBe(true);
    isSilent = false;
    (await registry.getBlob(nginx, digestOfBlob(100), 0, patient)).cancel();
  });
});

test("where a registry redirects to has connections of its own, and the registry's are free again", async () => {
  const cdn = await serve((_, response) => {
    response.writeHead(200, { "content-length": 10 });
    response.write("01234");
  });
  const server = await serve((request, response) => {
    if (request.url === "/v2/") return reply(response, 200);
    if (request.url?.endsWith(digestOfBlob(100))) return reply(response, 200, {}, "here");
    return reply(response, 307, { location: `${cdn.url}${request.url}` });
  });
  const { registry, bucket } = upstream(server.url, soon);
  const get = (index: number): Promise<BlobStream> =>
    registry.getBlob(nginx, digestOfBlob(index), 0, patient);
  const streams = await Promise.all(Array.from({ length: blobConnections }, (_, index) => get(index)));
  expect(bucket.statuses("blob")).toEqual(streams.map(() => 307));
  await expect(get(99)).rejects.toMatchObject(tooMany);
  expect(cdn.asked).toHaveLength(blobConnections);
  expect(await collect((await get(100)).body)).toEqual(Buffer.from("here"));
  for (const stream of streams) stream.cancel();
});
