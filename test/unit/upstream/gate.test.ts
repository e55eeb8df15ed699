import { systemClock } from "../../../src/async/clock.ts";
import { describe, expect, test } from "vitest";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseTag, type Reference, type Tag } from "../../../src/oci/reference.ts";
import { QuotaError } from "../../../src/quota/quota.ts";
import type { Registry } from "../../../src/upstream/registry.ts";
import { asked, manifest, nginx, reply, replyManifest, serve, serveRaw, upstream } from "./server.ts";

const digest = digestOf(manifest);

const tagOf = (text: string): Tag => parseTag(text) as Tag;

/** A registry that answers its first ping, and then as `statusOf` says. */
async function registryThat(statusOf: (url: string) => number) {
  let isKnown = false;
  const server = await serve((request, response) => {
    const status = isKnown ? statusOf(request.url ?? "") : 200;
    isKnown = true;
    return status === 200 && request.url !== "/v2/" ? replyManifest(response) : reply(response, status);
  });
  return { server, ...upstream(server.url) };
}

const fails = (registry: Registry, reference: Reference = digest): Promise<void> =>
  expect(registry.headManifest(nginx, reference, asked)).rejects.toMatchObject({ kind: "unreachable" });

/** A registry that answers its ping, and everything else with these bytes. */
async function rawRegistry(text: string) {
  return serveRaw((socket) =>
    socket.on("data", (request) =>
      socket.end(request.includes("GET /v2/ ") ? "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" : text),
    ),
  );
}

const limits = {
  "a pull limit": [
    `HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{"errors":[{"code":"TOOMANYREQUESTS"}]}`,
    undefined,
    false,
  ],
  "with Retry-After": [
    "HTTP/1.1 429 Too Many Requests\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n",
    3600,
    false,
  ],
  "ghcr.io's text": [
    `HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{"errors":[{"message":"retry-after: 880.092µs, allowed: 44000/minute"}]}`,
    1,
    false,
  ],
  "Docker Hub's abuse limit": [
    "HTTP/1.1 429 Too Many Requests\r\ncontent-type: text/plain\r\nretry-after: 90\r\ncontent-length: 28\r\n\r\nToo Many Requests (HAP429).\n",
    90,
    true,
  ],
  "the same in a hurry": [
    "HTTP/1.1 429 Too Many Requests\r\nretry-after: 5\r\ncontent-length: 28\r\n\r\nToo Many Requests (HAP429).\n",
    60,
    true,
  ],
  "the same with bare line feeds": [
    "HTTP/1.1 429 Too Many Requests\nContent-Type: text/plain\nRetry-After: 60\n\nToo Many Requests (HAP429).\n",
    60,
    true,
  ],
} as const;

describe("a registry under too many requests", () => {
  test.each(Object.entries(limits))("%s", async (_, [text, retryAfter, abuse]) => {
    const server = await rawRegistry(text);
    const { registry, bucket } = upstream(server.url);
    await expect(registry.getManifest(nginx, digest, asked)).rejects.toMatchObject({
      kind: "limited",
      status: 429,
      retryAfter,
    });
    expect(bucket.taken[1]?.reports).toEqual([expect.objectContaining({ status: 429, abuse })]);
    const [report] = bucket.taken[1]?.reports ?? [];
    const reported = typeof report === "object" ? report.headers["retry-after"] : undefined;
    expect(reported).toBe(retryAfter === undefined ? undefined : String(retryAfter));
    // It answers: that is not being down.
    expect(registry.health.failures).toBe(0);
  });

  test.each([
    ["", false],
    [
      JSON.stringify({ errors: [{ code: "TOOMANYREQUESTS", message: "no pull is left of 200 in 6 h" }] }),
      false,
    ],
    ["You have reached your pull rate limit as 'cluster'. You may increase the limit", true],
    [
      "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit",
      true,
    ],
  ])(
    "is asked whether that is about all requests, unless it says so in Docker Hub's words: %j",
    async (body, pulls) => {
      const server = await serve((request, response) =>
        request.url === "/v2/" ? reply(response, 200) : reply(response, 429, { "retry-after": 3600 }, body),
      );
      const { registry, bucket } = upstream(server.url);
      const pull = () => registry.getManifest(nginx, digest, asked);
      for (let time = 0; time < 3; time += 1)
        await expect(pull()).rejects.toMatchObject({ kind: "limited", retryAfter: 3600 });
      expect(bucket.taken[1]?.reports).toEqual([expect.objectContaining({ status: 429, pulls })]);
      await expect.poll(() => bucket.statuses("ping")).toEqual(pulls ? [200] : [200, 200]);
    },
  );

  test("S37: a 429 to a HEAD of a blob does not mean that the repository has it", async () => {
    const server = await rawRegistry(limits["with Retry-After"][0]);
    const { registry } = upstream(server.url);
    await expect(registry.headBlob(nginx, digest, asked)).rejects.toMatchObject({ kind: "limited" });
    await expect(registry.headManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "limited" });
  });
});

describe("quota", () => {
  test("what may not be spent is not sent", async () => {
    const server = await serve((_, response) => replyManifest(response));
    const { registry, bucket } = upstream(server.url);
    const empty = new QuotaError("exhausted", "account cluster has no pulls left", 1234);
    bucket.refuse = ({ kind }) => (kind === "manifest-get" ? empty : undefined);
    await expect(registry.getManifest(nginx, digest, asked)).rejects.toMatchObject({
      kind: "limited",
      message: "account cluster has no pulls left",
      retryAfter: 1234,
      cause: empty,
    });
    expect(server.asked).toEqual([]);
    await registry.headManifest(nginx, digest, asked);
  });

  test("every permit is settled exactly once, with the answer's headers", async () => {
    let status = 200;
    const server = await serve((request, response) => {
      if (request.url === "/v2/") return reply(response, 200);
      if (status === 0) return response.destroy();
      return status === 200
        ? replyManifest(response, { "ratelimit-remaining": "99;w=21600" })
        : reply(response, status);
    });
    const { registry, bucket } = upstream(server.url);
    for (status of [200, 404, 403, 500, 429, 418, 0]) {
      await registry.getManifest(nginx, digest, asked).catch(() => undefined);
    }
    expect(bucket.statuses("manifest-get").slice(0, 6)).toEqual([200, 404, 403, 500, 429, 418]);
    expect(new Set(bucket.statuses("manifest-get").slice(6))).toEqual(new Set(["failed"]));
    expect(bucket.taken[1]?.reports[0]).toMatchObject({ headers: { "ratelimit-remaining": "99;w=21600" } });
  });
});

describe("health", () => {
  test("an upstream that is down is left alone, but for a look every five seconds", async () => {
    let now = 1_000_000;
    let isUp = false;
    const server = await serve((_, response) => (isUp ? replyManifest(response) : reply(response, 503)));
    const { registry, bucket } = upstream(server.url, { clock: { ...systemClock, now: () => now } });
    const ask = (): Promise<unknown> => registry.headManifest(nginx, digest, asked);
    for (let count = 0; count < 20; count += 1)
      await expect(ask()).rejects.toMatchObject({ kind: "unreachable" });
    expect(registry.health).toMatchObject({ failures: 5, knownDown: true });
    expect(server.asked).toHaveLength(5);
    expect(bucket.taken).toHaveLength(5);
    isUp = true;
    await expect(ask()).rejects.toMatchObject({ kind: "unreachable" });
    now += 5000;
    await ask();
    expect(registry.health).toMatchObject({ failures: 0, knownDown: false });
  });

  test("a look that the quota forbids is no look: the next one may go at once", async () => {
    let now = 1_000_000;
    let isUp = false;
    const server = await serve((_, response) => (isUp ? replyManifest(response) : reply(response, 503)));
    const { registry, bucket } = upstream(server.url, { clock: { ...systemClock, now: () => now } });
    const ask = (): Promise<unknown> => registry.headManifest(nginx, digest, asked);
    for (let count = 0; count < 5; count += 1)
      await expect(ask()).rejects.toMatchObject({ kind: "unreachable" });
    now += 5000;
    isUp = true;
    bucket.refuse = () => new QuotaError("busy", "too much is waiting", 1);
    await expect(ask()).rejects.toMatchObject({ kind: "limited" });
    bucket.refuse = () => undefined;
    await ask();
  });

  test("what fails again and again says nothing about the rest: one ping of our own finds that out", async () => {
    const { server, registry } = await registryThat((url) => (url.endsWith("/broken") ? 503 : 200));
    for (let count = 0; count < 20; count += 1) await fails(registry, tagOf("broken"));
    await expect.poll(() => server.asked.filter((each) => each === "GET /v2/").length).toBe(2);
    expect(server.asked).toHaveLength(2 + 5);
    expect(registry.health).toMatchObject({ failures: 0, knownDown: false });
    await registry.headManifest(nginx, digest, asked);
  });

  test("one request that fails is enough to find out that an upstream is down", async () => {
    const { server, registry, bucket } = await registryThat(() => 503);
    await fails(registry);
    await expect.poll(() => registry.health.knownDown).toBe(true);
    expect(server.asked.filter((each) => each === "GET /v2/")).toHaveLength(1 + 5);
    expect(bucket.taken.slice(2).map(({ request }) => request.purpose.client)).toEqual(
      Array(5).fill("hubcap"),
    );
    await fails(registry, tagOf("another"));
    expect(server.asked).toHaveLength(1 + 1 + 5);
  });

  test("a ping of our own that the quota forbids says nothing", async () => {
    const { server, registry, bucket } = await registryThat(() => 503);
    bucket.refuse = ({ purpose }) =>
      purpose.client === "hubcap" ? new QuotaError("busy", "too much is waiting", 1) : undefined;
    for (let count = 0; count < 5; count += 1) await fails(registry);
    expect(registry.health).toMatchObject({ failures: 0, knownDown: false });
    expect(server.asked).toHaveLength(1 + 5);
  });

  test.each([404, 401, 403, 429])("%i is an answer: it never counts", async (status) => {
    const server = await serve((request, response) => reply(response, request.url === "/v2/" ? 200 : status));
    const { registry } = upstream(server.url);
    for (let count = 0; count < 10; count += 1) {
      await registry.headManifest(nginx, digest, asked).catch(() => undefined);
    }
    expect(registry.health).toMatchObject({ failures: 0, knownDown: false });
  });

  test("a broken CDN does not make the registry one", async () => {
    const cdn = await serve((_, response) => reply(response, 500));
    const server = await serve((request, response) => {
      if (request.url?.includes("/blobs/")) reply(response, 307, { location: `${cdn.url}/x` });
      else replyManifest(response);
    });
    const { registry } = upstream(server.url);
    for (let count = 0; count < 10; count += 1) {
      await expect(registry.headBlob(nginx, digest, asked)).rejects.toMatchObject({ kind: "unreachable" });
    }
    await registry.headManifest(nginx, digest, asked);
  });
});

test("every request is observed, with its status or as an error", async () => {
  const server = await serve((request, response) => {
    if (request.url === "/v2/") reply(response, 200);
    else if (request.method === "HEAD") replyManifest(response);
    else response.destroy();
  });
  const { registry, observed } = upstream(server.url);
  await registry.headManifest(nginx, digest, asked);
  await expect(registry.getBlob(nginx, digest, 0, asked)).rejects.toMatchObject({ kind: "unreachable" });
  expect(observed.map(({ kind, status }) => [kind, status]).slice(0, 3)).toEqual([
    ["ping", 200],
    ["manifest-head", 200],
    ["blob", "error"],
  ]);
  expect(observed.every(({ ms }) => ms >= 0)).toBe(true);
});
