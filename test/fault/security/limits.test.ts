/** What a client may make Hubcap do, wait for or keep open: each limit met, counted, and no burden to others. */
import { Agent } from "node:http";
import { connect, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { ask, openReply, type AskOptions, type Reply } from "../../support/ask.ts";
import { digestOf } from "../../support/content.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage, type Bundle, type Image } from "../../support/images.ts";
import { sendRaw } from "../../support/raw.ts";
import { patience } from "../../support/patience.ts";

const mib = 1024 * 1024;

let hub: Hub;
let hubcap: Hubcap;
let image: Image;
let layer: string;
const sockets: Socket[] = [];

beforeAll(async () => {
  hub = await startHub({ limit: 1000 });
  image = await buildImage({ layers: 1, layerBytes: 32 * mib });
  layer = image.platforms.get("linux/amd64")?.layers[0]?.digest ?? "";
  hub.push(image, "library/app", "1");
  hub.push(largeArtifact(), "library/big", "1");
  hubcap = await startHubcap({
    config: {
      upstreams: { "docker.io": upstreamOf(hub) },
      registry: { stall: "1s" },
      limits: {
        connections: 60,
        connectionsPerAddress: 40,
        streamsPerClient: 3,
        misses: { burst: 30, perMinute: 1 },
      },
    },
  });
  await blob("warm-up");
});

afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  // Until the last of them has been taken note of, the next test may be one too many.
  await vi.waitUntil(
    async () => (await get("/v2/", "after").catch(() => undefined))?.status === 200,
    patience,
  );
});

function get(path: string, node: string, options: AskOptions = {}): Promise<Reply> {
  return ask(`${hubcap.url}${path}`, { ...options, headers: { "x-hubcap-node": node } });
}

function blob(node: string): Promise<Reply> {
  return get(`/v2/library/app/blobs/${layer}`, node);
}

function reached(limit: string): Promise<number> {
  return hubcap.metric("hubcap_limited_total", { limit });
}

/** An artifact whose manifest alone is nearly as large as one may be. */
function largeArtifact(): Bundle {
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const empty = {
    mediaType: "application/vnd.oci.empty.v1+json",
    digest: digestOf("{}"),
    size: 2,
  };
  const filler = "x".repeat(3.5 * mib);
  const document = { schemaVersion: 2, mediaType, config: empty, layers: [empty], annotations: { filler } };
  const bytes = Buffer.from(JSON.stringify(document));
  const root = { mediaType, digest: digestOf(bytes), size: bytes.length };
  return { root, manifests: new Map([[root.digest, { mediaType, bytes }]]), blobs: new Map() };
}

/** A connection from one of the loopback's addresses; whether it is answered, and stays, or is closed. */
function open(localAddress: string): Promise<boolean> {
  const { hostname, port } = new URL(hubcap.url);
  const socket = connect({ host: hostname, port: Number(port), localAddress });
  sockets.push(socket);
  socket.write("GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
  return new Promise<boolean>((resolve) => {
    socket.on("error", () => {});
    socket.once("data", () => resolve(true));
    socket.once("close", () => resolve(false));
  });
}

describe("connections", () => {
  test.each([
    ["address", "one address", ["127.0.0.2"], 45, 40],
    ["connections", "many addresses", ["127.0.0.3", "127.0.0.4", "127.0.0.5"], 65, 60],
  ])(
    "%s: of too many from %s, the longest idle ones are closed and the new ones are answered",
    async (limit, _, from, many, most) => {
      const before = await reached(limit);
      const opened: boolean[] = [];
      for (let at = 0; at < many; at += 1) opened.push(await open(from[at % from.length] ?? ""));
      expect(opened.every(Boolean)).toBe(true);
      await expect.poll(() => sockets.filter(({ closed }) => !closed).length).toBeLessThanOrEqual(most);
      expect(await reached(limit)).toBeGreaterThanOrEqual(before + many - most);
      // A client that has not had too many is answered, even where there are too many in all.
      expect(await open("127.0.0.6")).toBe(true);
    },
  );

  test("a client that sends many requests at once has them answered one after the other, or is cut", async () => {
    const request = "GET /v2/library/app/manifests/1 HTTP/1.1\r\nHost: x\r\n\r\n";
    const last = "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    const { text } = await sendRaw(hubcap.url, [request.repeat(10) + last]);
    expect(text.match(/HTTP\/1\.1 200 /g)).toHaveLength(11);
    const before = await reached("pipelined");
    expect(
      (await sendRaw(hubcap.url, [request.repeat(100)])).text.match(/HTTP\/1\.1/g) ?? [],
    ).not.toHaveLength(100);
    expect(await reached("pipelined")).toBe(before + 1);
  });
});

describe("streams", () => {
  test("a client has so many blobs at once, and others, hits of manifests and its next ones are served", async () => {
    const agent = new Agent();
    const held = await Promise.all(
      [1, 2, 3].map(() =>
        openReply(`${hubcap.url}/v2/library/app/blobs/${layer}`, {
          agent,
          headers: { "x-hubcap-node": "greedy" },
        }),
      ),
    );
    const refused = await blob("greedy");
    expect([refused.status, refused.headers["retry-after"]]).toEqual([429, "5"]);
    expect(JSON.parse(refused.body.toString())).toEqual({
      errors: [
        {
          code: "TOOMANYREQUESTS",
          message: expect.stringContaining("limits.streamsPerClient"),
          detail: { reason: "client-limit" },
        },
      ],
    });
    expect(await reached("streams")).toBe(1);
    expect((await blob("modest")).status).toBe(200);
    expect((await get("/v2/library/app/manifests/1", "greedy")).status).toBe(200);
    for (const reply of held) reply.destroy();
    await expect.poll(async () => (await blob("greedy")).status).toBe(200);
  });
});

describe("misses", () => {
  const made: readonly [what: string, path: (at: number) => string][] = [
    ["names", (at) => `/v2/library/none-${at}/manifests/1`],
    ["digests", (at) => `/v2/library/app/manifests/sha256:${String(at).padStart(64, "0")}`],
    ["blobs", (at) => `/v2/library/app/blobs/sha256:${String(at).padStart(64, "0")}`],
    ["lists of tags", (at) => `/v2/library/no-list-${at}/tags/list`],
  ];

  test.each(made)(
    "R30, S37: a client that makes up %s is refused, costs the others nothing, and gets all that is held",
    async (what, path) => {
      const node = `maker-of-${what.replaceAll(" ", "-")}`;
      expect((await get("/v2/library/app/manifests/1", node)).status).toBe(200);
      hub.counts.reset();
      const before = await reached("misses");
      const statuses: number[] = [];
      for (let at = 0; at < 60; at += 1) statuses.push((await get(path(at), node)).status);
      expect(statuses.filter((status) => status === 404 || status === 403).length).toBeGreaterThanOrEqual(29);
      expect(statuses.slice(31).every((status) => status === 429)).toBe(true);
      expect(hub.counts.requests.filter(({ origin }) => origin === "registry").length).toBeLessThanOrEqual(
        70,
      );
      expect(await reached("misses")).toBeGreaterThanOrEqual(before + 29);
      const refused = await get(path(1000), node);
      expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
      expect(refused.body.toString()).toContain("limits.misses");

      expect((await get("/v2/library/app/manifests/1", node)).status).toBe(200);
      expect((await blob(node)).status).toBe(200);
      // Somebody else may even pull what the refused one asked for.
      expect((await get(path(0), "somebody-else")).status).not.toBe(429);
      const other = await buildImage({ seed: what });
      hub.push(other, `library/for-${what.replaceAll(" ", "-")}`, "1");
      expect(
        (await get(`/v2/library/for-${what.replaceAll(" ", "-")}/manifests/1`, "somebody-else")).status,
      ).toBe(200);
    },
  );
});

describe("readers and writers", () => {
  test("a client that says nothing, or never ends its headers, is not waited for", async () => {
    const ends = ["", "GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: "].map(async (said) => {
      const { hostname, port } = new URL(hubcap.url);
      const socket = connect(Number(port), hostname);
      sockets.push(socket);
      const started = performance.now();
      const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
      socket.on("error", () => {});
      socket.resume();
      socket.write(said);
      // Bytes that come now and then do not help: it is the whole that is waited for.
      const drip = setInterval(() => said !== "" && socket.writable && socket.write("a"), 500);
      await closed;
      clearInterval(drip);
      return performance.now() - started;
    });
    expect(Math.max(...(await Promise.all(ends)))).toBeLessThan(60_000);
  });

  test("R5: a reader that takes nothing of a large manifest is cut, and counted", async () => {
    expect((await get("/v2/library/big/manifests/1", "big")).body.length).toBeGreaterThan(3 * mib);
    const { hostname, port } = new URL(hubcap.url);
    const before = await reached("stalled");
    const socket = connect(Number(port), hostname);
    sockets.push(socket);
    socket.on("error", () => {});
    socket.pause();
    // Several behind each other, so that the system's own buffers do not take all of it.
    socket.write("GET /v2/library/big/manifests/1 HTTP/1.1\r\nHost: x\r\n\r\n".repeat(4));
    await expect.poll(() => reached("stalled")).toBe(before + 1);
  });
});
