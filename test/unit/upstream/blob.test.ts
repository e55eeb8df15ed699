import { describe, expect, test } from "vitest";
import { digestOf } from "../../../src/oci/digest.ts";
import { asked, collect, nginx, reply, serve, serveRaw, upstream } from "./server.ts";

const blob = Buffer.from("0123456789");
const digest = digestOf(blob);

async function registryThat(status: number, headers: Record<string, string>, body: Buffer | string = "") {
  const server = await serve((request, response) =>
    request.url === "/v2/" ? reply(response, 200) : reply(response, status, headers, body),
  );
  return { server, ...upstream(server.url) };
}

describe("getBlob", () => {
  test("from the start, without a range", async () => {
    const { server, registry } = await registryThat(200, {}, blob);
    const stream = await registry.getBlob(nginx, digest, 0, asked);
    expect(stream).toMatchObject({ offset: 0, size: 10 });
    expect(await collect(stream.body)).toEqual(blob);
    expect(server.requests[1]?.headers.range).toBeUndefined();
  });

  test("from an offset, as far as the upstream supports it", async () => {
    const { server, registry } = await registryThat(
      206,
      { "content-range": "bytes 4-9/10" },
      blob.subarray(4),
    );
    const stream = await registry.getBlob(nginx, digest, 4, asked);
    expect(stream).toMatchObject({ offset: 4, size: 10 });
    expect(await collect(stream.body)).toEqual(blob.subarray(4));
    expect(server.requests[1]?.headers.range).toBe("bytes=4-");
  });

  test("an upstream that ignores the range says so", async () => {
    const { registry } = await registryThat(200, {}, blob);
    const stream = await registry.getBlob(nginx, digest, 4, asked);
    expect(stream.offset).toBe(0);
    expect(await collect(stream.body)).toEqual(blob);
  });

  test("an unknown total is unknown", async () => {
    const { registry } = await registryThat(206, { "content-range": "bytes 4-9/*" }, blob.subarray(4));
    const stream = await registry.getBlob(nginx, digest, 4, asked);
    expect(stream).toMatchObject({ offset: 4, size: undefined });
    stream.cancel();
  });

  test.each([
    [206, "bytes 5-9/10"],
    [206, "bytes 4-3/10"],
    [206, "bytes 4-10/10"],
    [206, "bytes 4-9/99999999999999999999"],
    [206, "bytes */10"],
    [206, "items 4-9/10"],
    [206, ""],
    [416, "bytes */10"],
  ])("%i with Content-Range %j is nonsense", async (status, range) => {
    const { registry } = await registryThat(
      status,
      range === "" ? {} : { "content-range": range },
      blob.subarray(4),
    );
    await expect(registry.getBlob(nginx, digest, 4, asked)).rejects.toMatchObject({
      kind: "corrupt",
      status,
    });
  });

  test("a broken connection is not an end", async () => {
    const server = await serve((request, response) => {
      if (request.url === "/v2/") return reply(response, 200);
      response.writeHead(200, { "content-length": 10 });
      return response.write(blob.subarray(0, 5), () => response.destroy());
    });
    const { body } = await upstream(server.url).registry.getBlob(nginx, digest, 0, asked);
    await expect(collect(body)).rejects.toMatchObject({ kind: "unreachable" });
  });

  test("an upstream that stalls is given up", async () => {
    const server = await serve((request, response) => {
      if (request.url === "/v2/") return reply(response, 200);
      response.writeHead(200, { "content-length": 10 });
      return response.write(blob.subarray(0, 5));
    });
    const { registry } = upstream(server.url, { timeouts: { stallMs: 200 } });
    const { body } = await registry.getBlob(nginx, digest, 0, asked);
    await expect(collect(body)).rejects.toMatchObject({
      kind: "unreachable",
      message: expect.stringContaining("stalled"),
    });
  });

  test("the caller's signal ends the wait for an answer, not the answer", async () => {
    const more = Promise.withResolvers<void>();
    const server = await serve(async (request, response) => {
      if (request.url === "/v2/") return reply(response, 200);
      response.writeHead(200, { "content-length": 10 });
      response.write(blob.subarray(0, 5));
      await more.promise;
      return response.end(blob.subarray(5));
    });
    const patience = new AbortController();
    const { registry } = upstream(server.url);
    const { body } = await registry.getBlob(nginx, digest, 0, { ...asked, signal: patience.signal });
    patience.abort();
    more.resolve();
    expect(await collect(body)).toEqual(blob);
  });

  test("a caller that gives up gets its own reason, which is not held against the upstream", async () => {
    const server = await serve((request, response) => {
      if (request.url === "/v2/") reply(response, 200);
    });
    const patience = new AbortController();
    const { registry, bucket } = upstream(server.url);
    const waiting = registry.getBlob(nginx, digest, 0, { ...asked, signal: patience.signal });
    await expect.poll(() => server.asked.length).toBe(2);
    patience.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    expect(bucket.statuses("blob")).toEqual(["failed"]);
    expect(registry.health.failures).toBe(0);
  });

  test("a cancelled body lets go of its connection", async () => {
    const closed = Promise.withResolvers<void>();
    const server = await serve((request, response) => {
      if (request.url === "/v2/") return reply(response, 200);
      request.socket.on("close", () => closed.resolve());
      response.writeHead(200, { "content-length": 1e9 });
      return response.write(blob);
    });
    const stream = await upstream(server.url).registry.getBlob(nginx, digest, 0, asked);
    stream.cancel();
    await closed.promise;
  });

  test("long blobs do not stand in the way of manifests", async () => {
    const server = await serve((request, response) => {
      if (request.url?.includes("/blobs/")) {
        response.writeHead(200, { "content-length": 1e9 });
        response.write(blob);
      } else reply(response, 200, { "content-length": 2 }, "{}");
    });
    const { registry } = upstream(server.url);
    const streams = await Promise.all(
      Array.from({ length: 48 }, () => registry.getBlob(nginx, digest, 0, asked)),
    );
    await registry.headManifest(nginx, digest, asked);
    for (const stream of streams) stream.cancel();
  });

  test("a redirect's body and a refusal's body leave their connections usable", async () => {
    const connections = new Set<unknown>();
    const server = await serve((request, response) => {
      connections.add(request.socket);
      return reply(response, 404, {}, "x".repeat(1000));
    });
    const { registry } = upstream(server.url);
    for (let count = 0; count < 50; count += 1) {
      await expect(registry.headBlob(nginx, digest, asked)).rejects.toMatchObject({ kind: "absent" });
    }
    expect(connections.size).toBeLessThan(5);
  });
});

describe("headBlob", () => {
  test("gives the size, where the upstream does", async () => {
    const { registry } = await registryThat(200, { "content-length": "12345678901" });
    expect(await registry.headBlob(nginx, digest, asked)).toEqual({ size: 12_345_678_901 });
  });
});

describe("connections", () => {
  test("a request that dies on a connection which the other side had closed is sent once more, and paid for again", async () => {
    let hasDied = false;
    const server = await serveRaw((socket) => {
      let requests = 0;
      socket.on("data", () => {
        requests += 1;
        if (requests === 1 || hasDied)
          return void socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        hasDied = true;
        return socket.destroy();
      });
    });
    const { registry, bucket } = upstream(server.url);
    // The first few may still be given connections of their own.
    for (let count = 0; count < 10; count += 1) await registry.headBlob(nginx, digest, asked);
    const statuses = bucket.statuses("blob");
    expect(statuses.filter((status) => status === "failed")).toHaveLength(1);
    expect(statuses).toHaveLength(11);
  });

  test("a server that closes every connection gets two requests at most", async () => {
    let requests = 0;
    const server = await serveRaw((socket) => {
      socket.on("data", () => {
        requests += 1;
        socket.resetAndDestroy();
      });
    });
    const { registry } = upstream(server.url);
    await expect(registry.headBlob(nginx, digest, asked)).rejects.toMatchObject({ kind: "unreachable" });
    expect(requests).toBeLessThanOrEqual(2);
  });

  test.each([
    ["refuses", "http://127.0.0.1:1", "refused"],
    ["has no address", "http://nowhere.invalid", "resolve"],
  ])("a server that %s cannot be reached, and the message says why", async (_, url, why) => {
    const { registry, bucket } = upstream(url);
    await expect(registry.headBlob(nginx, digest, asked)).rejects.toMatchObject({
      kind: "unreachable",
      message: expect.stringMatching(why === "resolve" ? /name/ : why),
    });
    expect(bucket.statuses("ping")).toEqual(["failed"]);
  });

  test("a server that never answers is given up in time", async () => {
    const server = await serveRaw(() => undefined);
    const { registry } = upstream(server.url, { timeouts: { headersMs: 200 } });
    await expect(registry.headBlob(nginx, digest, asked)).rejects.toMatchObject({
      kind: "unreachable",
      message: expect.stringContaining("in time"),
    });
  });

  test.each([
    ["no HTTP at all", "SSH-2.0-OpenSSH_9.2\r\n\r\n"],
    ["endless headers", `HTTP/1.1 200 OK\r\nx: ${"a".repeat(200_000)}\r\n\r\n`],
  ])("a server that speaks %s is not believed", async (_, text) => {
    const server = await serveRaw((socket) => socket.on("data", () => socket.write(text)));
    await expect(upstream(server.url).registry.headBlob(nginx, digest, asked)).rejects.toMatchObject({
      kind: "corrupt",
    });
  });
});
