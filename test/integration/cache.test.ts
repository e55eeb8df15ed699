/** The cache API, every answer held against the served document, and `hubcap cache`, on a real Hubcap that has pulled. */
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { z } from "zod";
import { cacheImages, cacheSummary } from "../../src/http/api/cache.ts";
import { cacheEviction } from "../../src/http/api/evict.ts";
import { cachePins } from "../../src/http/api/pins.ts";
import { ask, type AskOptions, type Reply } from "../support/ask.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import { buildImage } from "../support/images.ts";
import { OpenApiChecker } from "../support/openapi.ts";
import { pullLikeContainerd } from "../support/pull.ts";
import { runHubcap, type Ended } from "../support/run.ts";
import { patience } from "../support/patience.ts";

const token = "an-admin-token";

let hub: Hub;
let hubcap: Hubcap;
let checker: OpenApiChecker;
let tokenFile: string;

async function pull(repository: string): Promise<void> {
  const options = { mirror: hubcap.url, ns: "docker.io", repository, reference: "1" };
  const { errors } = await pullLikeContainerd(options);
  expect(errors).toEqual([]);
}

/** A reply, which must be as the document says. */
async function checked(url: string, options: AskOptions = {}): Promise<Reply> {
  const reply = await ask(url, options);
  expect(checker.flawsIn(options.method ?? "GET", url, reply)).toEqual([]);
  return reply;
}

function send(path: string, method = "GET", bearer = token): Promise<Reply> {
  const headers = { authorization: `Bearer ${bearer}` };
  return checked(`${hubcap.statusUrl}/api/v1/cache${path}`, { method, headers });
}

/** The answer's body, which must be just what the schema says. */
async function body<S extends z.ZodType>(schema: S, reply: Promise<Reply>): Promise<z.output<S>> {
  const { status, body } = await reply;
  expect([status, status === 200 ? "" : body.toString()]).toEqual([200, ""]);
  return schema.parse(JSON.parse(body.toString()));
}

function cli(...args: string[]): Promise<Ended> {
  return runHubcap(["cache", ...args, "--status", hubcap.statusUrl]);
}

/** A client has its last byte before the blob is safe on disk. Each of three images is an index, a manifest, a config, a layer, and the layer that all share. */
async function settled(): Promise<void> {
  await vi.waitFor(async () => expect((await body(cacheSummary, send(""))).blobs).toBe(13), patience);
}

beforeAll(async () => {
  tokenFile = join(await mkdtemp(join(tmpdir(), "hubcap-token-")), "token");
  await writeFile(tokenFile, `${token}\n`);
  hub = await startHub({ limit: "unlimited" });
  for (const name of ["a", "b", "c"]) {
    hub.push(await buildImage({ seed: name, sharedLayers: 1 }), `library/${name}`, "1");
  }
  hubcap = await startHubcap({
    config: {
      upstreams: { "docker.io": upstreamOf(hub) },
      admin: { tokenFile },
      storage: { capacity: "1GiB", pins: ["docker.io/library/c"] },
    },
  });
  checker = await OpenApiChecker.of(hubcap.statusUrl);
  for (const name of ["a", "b", "c"]) await pull(`library/${name}`);
  await settled();
});

afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
});

describe("the cache API", () => {
  it("tells what is held, in sums", async () => {
    const summary = await body(cacheSummary, send(""));
    expect(summary).toMatchObject({ capacity: 2 ** 30, blobs: 13, manifests: 6 });
    expect(summary.hitRatio).toBeGreaterThan(0);
    expect(summary.oldestUseAt).not.toBeNull();
    expect(await hubcap.metric("hubcap_cache_bytes")).toBe(summary.bytes);
    expect(await hubcap.metric("hubcap_cache_blobs")).toBe(13);
    expect(await hubcap.metric("hubcap_cache_capacity_bytes")).toBe(2 ** 30);
  });

  it("lists images page by page, an index with its platforms as one", async () => {
    const { images } = await body(cacheImages, send("/images"));
    expect(images.map(({ repository, tags, pinned }) => [repository, tags, pinned])).toEqual([
      ["docker.io/library/a", ["1"], false],
      ["docker.io/library/b", ["1"], false],
      ["docker.io/library/c", ["1"], true],
    ]);
    const paged: string[] = [];
    for (let path: string | undefined = "/images?n=1"; path !== undefined;) {
      const reply = await send(path);
      paged.push(...cacheImages.parse(JSON.parse(reply.body.toString())).images.map((image) => image.digest));
      path = /^<\/api\/v1\/cache(.*)>; rel="next"$/.exec(String(reply.headers["link"]))?.[1];
    }
    expect(paged).toEqual(images.map((image) => image.digest));
  });

  it.each(["/images?n=0", "/images?n=1001", "/images?n=x", "/images?last=nginx"])(
    "refuses %s",
    async (path) => {
      expect((await send(path)).status).toBe(400);
    },
  );

  it.each([
    ["/images?image=docker.io/library/a", "DELETE"],
    ["/evict", "POST"],
    ["/pins?image=docker.io/library/a", "PUT"],
    ["/pins?image=docker.io/library/a", "DELETE"],
  ])("changes nothing at %s (%s) without the right token", async (path, method) => {
    expect((await send(path, method, "another-token")).status).toBe(401);
    const bare = await checked(`${hubcap.statusUrl}/api/v1/cache${path}`, { method });
    expect(bare.status).toBe(401);
    expect((await body(cacheSummary, send(""))).manifests).toBe(6);
  });

  it("says what is wrong with a pattern", async () => {
    const reply = await send("/images?image=nginx", "DELETE");
    expect(reply.status).toBe(400);
    expect(reply.body.toString()).toContain("an image with its source host");
  });

  it("pins and unpins, but not what the configuration pins", async () => {
    await body(cachePins, send("/pins?image=docker.io/library/b:1", "PUT"));
    expect(await body(cachePins, send("/pins"))).toEqual({
      pins: [
        { image: "docker.io/library/c", origin: "configuration" },
        { image: "docker.io/library/b:1", origin: "api" },
      ],
    });
    const gone = await body(cacheEviction, send("/images?image=docker.io/library/b", "DELETE"));
    expect(gone.count).toBe(0);
    expect((await send("/pins?image=docker.io/library/c", "DELETE")).status).toBe(409);
    expect((await send("/pins?image=docker.io/library/x", "DELETE")).status).toBe(404);
    await body(cachePins, send("/pins?image=docker.io/library/b:1", "DELETE"));
  });

  it("removes an image, after showing what would go, and it can be pulled again (R15)", async () => {
    const path = "/images?image=docker.io/library/a:1";
    const plan = await body(cacheEviction, send(`${path}&dryRun=true`, "DELETE"));
    const before = await body(cacheSummary, send(""));
    expect(plan).toMatchObject({ dryRun: true, count: 1 });
    const gone = await body(cacheEviction, send(path, "DELETE"));
    expect(gone).toEqual({ ...plan, dryRun: false });
    const after = await body(cacheSummary, send(""));
    expect(before.bytes - after.bytes).toBe(gone.bytes);
    expect(before.blobs - after.blobs).toBe(4);
    expect(
      await hubcap.metric("hubcap_cache_evicted_bytes_total", { reason: "removed" }),
    ).toBeGreaterThanOrEqual(gone.bytes);
    hub.counts.reset();
    await pull("library/b");
    expect(hub.counts.manifestGets.total + hub.counts.blobGets.total).toBe(0);
    await pull("library/a");
    expect(hub.counts.blobGets.total).toBe(2);
    await settled();
  });

  it("has no changing calls when no token is configured", async () => {
    const open = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub) } } });
    try {
      const url = `${open.statusUrl}/api/v1/cache`;
      const headers = { authorization: `Bearer ${token}` };
      for (const [path, method] of [
        ["/images?image=docker.io/library/a", "DELETE"],
        ["/evict", "POST"],
        ["/pins?image=docker.io/library/a", "PUT"],
      ] as const) {
        expect((await checked(url + path, { method, headers })).status).toBe(404);
      }
      const empty = await checked(url);
      expect(cacheSummary.parse(JSON.parse(empty.body.toString()))).toMatchObject({
        bytes: 0,
        hitRatio: null,
        oldestUseAt: null,
      });
    } finally {
      await open.dispose();
    }
  });
});

describe("hubcap cache", () => {
  it("lists what is held", async () => {
    const { code, output } = await cli("ls");
    expect(code).toBe(0);
    expect(output).toMatch(/^IMAGE +SIZE +LAST USED \(UTC\) +USES\n/);
    expect(output).toMatch(/^docker\.io\/library\/c:1 +[\d.]+ KiB .* pinned$/m);
    expect(output).toMatch(/3 images, 13 blobs, [\d.]+ KiB of 1\.0 GiB\n$/);
    const { images } = JSON.parse((await cli("ls", "--json")).output) as { images: unknown[] };
    expect(images).toHaveLength(3);
  });

  it("pins, removes and unpins", async () => {
    const admin = ["--token-file", tokenFile];
    expect((await cli("pin", "docker.io/library/b", ...admin)).output).toBe(
      "docker.io/library/c  (in the configuration)\ndocker.io/library/b\n",
    );
    expect((await cli("rm", "docker.io/library/b:1", ...admin)).output).toBe("0 images, 0 B are gone\n");
    expect((await cli("unpin", "docker.io/library/b", ...admin)).code).toBe(0);
    const plan = await cli("rm", "--dry-run", "docker.io/library/b:1", ...admin);
    expect(plan.output).toMatch(/docker\.io\/library\/b:1 .*removed\n1 images, .* would go\n$/);
    expect((await cli("rm", "docker.io/library/b:1", ...admin)).output).toContain("are gone");
    expect((await cli("ls")).output).not.toContain("library/b");
    expect((await cli("evict", "--dry-run", ...admin)).output).toBe("0 images, 0 B would go\n");
  });

  it.each([
    [["rm", "docker.io/library/a"], 1, "admin token"],
    [["rm"], 2, "rm needs an image"],
    [["ls", "docker.io/library/a"], 2, "ls takes no image"],
    [["clean"], 2, "one of ls, rm, evict"],
    [["rm", "nginx", "--token-file", "/nowhere"], 2, "cannot be read"],
  ])("%j ends with %i and one clear line", async (args, expected, reason) => {
    const { code, output, errors } = await cli(...args);
    expect([code, output]).toEqual([expected, ""]);
    expect(errors).toMatch(/^hubcap: .+\n$/);
    expect(errors).toContain(reason);
  });
});
