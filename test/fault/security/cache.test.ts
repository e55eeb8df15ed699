/** What one client asks for evicts nothing that others have pulled, and takes no connection or request that they wait for. */
import { Agent } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, expect, test, vi } from "vitest";
import { ask, openReply } from "../../support/ask.ts";
import { bytesContent, digestOf, floodContent, type Content } from "../../support/content.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";
import { patience } from "../../support/patience.ts";
import { pullLikeContainerd } from "../../support/pull.ts";
import { openSetup, type Setup } from "../../support/setup.ts";

let hub: Hub | undefined;
let hubcap: Hubcap | undefined;
let setup: Setup | undefined;

afterEach(async () => {
  await setup?.close();
  setup = undefined;
  await hubcap?.dispose();
  await hub?.stop();
});

async function start(): Promise<{ hub: Hub; hubcap: Hubcap }> {
  hub = await startHub({ limit: 1000 });
  hubcap = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub) } } });
  return { hub, hubcap };
}

const stranger = new Agent({ localAddress: "127.0.9.9", keepAlive: false });

/** Asks for a blob, and is gone once its headers have come. */
async function abandon(hubcap: Hubcap, digest: string): Promise<void> {
  const url = `${hubcap.url}/v2/library/strange/blobs/${digest}`;
  const reply = await openReply(url, { agent: stranger }).catch(() => undefined);
  reply?.on("error", () => {}).destroy();
}

/** Blobs of a repository that no manifest names. */
function pushBlobs(hub: Hub, contents: readonly Content[]): string[] {
  const blobs = new Map(contents.map((content, index) => [digestOf(`unnamed ${index}`), content]));
  hub.push({ root: digestOf("none"), manifests: new Map(), blobs } as never, "library/strange");
  return [...blobs.keys()];
}

const mebibyte = 1024 * 1024;

test("large blobs that no manifest names evict no image, and their downloads end with their clients", async () => {
  setup = await openSetup({ config: { storage: { capacity: "64MiB" } } });
  const { hub, hubcap } = setup;
  const names = ["one", "two", "three", "four", "five", "six"];
  for (const name of names) {
    const layers = { layers: 2, layerBytes: 3 * mebibyte, platforms: ["linux/amd64"] };
    const { image } = await setup.push(`library/${name}`, layers);
    const base = `${hubcap.url}/v2/library/${name}`;
    expect((await ask(`${base}/manifests/1`)).status).toBe(200);
    for (const digest of image.manifests.keys()) await ask(`${base}/manifests/${digest}`);
    for (const digest of image.blobs.keys()) expect((await ask(`${base}/blobs/${digest}`)).status).toBe(200);
  }
  await vi.waitUntil(async () => (await hubcap.metric("hubcap_fills_running")) === 0, patience);
  // Within ten minutes of its use, nothing is evicted in any case.
  await setup.advance(11 * 60_000);
  hub.fault({ asks: "blob", repository: "library/strange", kind: "drip", bytesPerSecond: 1000 });
  const digests = pushBlobs(
    hub,
    [60, 50, 40, 2].map((size) => floodContent(size * mebibyte)),
  );
  for (const digest of digests) await abandon(hubcap, digest);
  const evicted = async (): Promise<number[]> =>
    Promise.all(
      ["capacity", "orphan"].map((reason) => hubcap.metric("hubcap_cache_evicted_bytes_total", { reason })),
    );
  expect(await evicted()).toEqual([0, 0]);
  await vi.waitUntil(async () => (await hubcap.metric("hubcap_fills_running")) === 0, {
    timeout: 20_000,
  });
  expect(await evicted()).toEqual([0, 0]);
}, 60_000);

test("a large layer of a client's own image evicts no image for its size, and others only as it comes", async () => {
  setup = await openSetup({ config: { storage: { capacity: "200MiB" } } });
  const { hub, hubcap } = setup;
  const pull = async (repository: string): Promise<string[]> => {
    const what = { mirror: hubcap.url, ns: "docker.io", repository, reference: "1" };
    return [...(await pullLikeContainerd(what)).errors];
  };
  const names = ["library/one", "library/two", "library/three"];
  for (const name of names) {
    await setup.pushLayer(name, 30 * mebibyte);
    expect(await pull(name)).toEqual([]);
  }
  // Within ten minutes of its use, nothing is evicted in any case.
  await setup.advance(11 * 60_000);
  const large = await setup.pushLayer("library/strange", 190 * mebibyte);
  await setup.name(large);
  const stall = hub.fault({ origin: "cdn", digest: large.layer.digest, kind: "stall", after: mebibyte });
  await abandon(hubcap, large.layer.digest);
  const evicted = (): Promise<number> =>
    hubcap.metric("hubcap_cache_evicted_bytes_total", { reason: "capacity" });
  if (process.env["PRINT_ATTACKS"]) process.stdout.write(`evicted for a claim: ${await evicted()} bytes\n`);
  expect(await evicted()).toBe(0);
  expect(await hubcap.metric("hubcap_fills_running")).toBe(1);
  hub.counts.reset();
  stall.release();
  stall.remove();
  await expect.poll(() => hubcap.metric("hubcap_fills_running"), patience).toBe(0);
  expect(await hubcap.metric("hubcap_fill_failures_total")).toBe(0);
  expect(await evicted()).toBeGreaterThan(80 * mebibyte);
  expect(await hubcap.metric("hubcap_cache_bytes")).toBeLessThanOrEqual(200 * mebibyte);
  expect(await pull("library/strange")).toEqual([]);
  expect(hub.counts.blobGets.total).toBe(1);
}, 120_000);

test("48 abandoned downloads keep no layer of another client waiting", async () => {
  const { hub, hubcap } = await start();
  const image = await buildImage({ seed: "big", layers: 48, platforms: ["linux/amd64"] });
  hub.push(image, "library/strange", "1");
  hub.push(await buildImage({ seed: "small", platforms: ["linux/amd64"] }), "library/small", "1");
  // Named by a manifest, so that they go on without their clients.
  for (const digest of image.manifests.keys())
    await ask(`${hubcap.url}/v2/library/strange/manifests/${digest}`);
  for (const digest of image.blobs.keys()) hub.fault({ origin: "cdn", digest, kind: "stall", after: 10 });
  const abandoned = [...image.blobs.keys()].map((digest) => abandon(hubcap, digest));
  await pause(500);
  const small = await buildImage({ seed: "small", platforms: ["linux/amd64"] });
  const started = performance.now();
  for (const digest of small.blobs.keys()) {
    const reply = await ask(`${hubcap.url}/v2/library/small/blobs/${digest}`);
    expect(reply.status).toBe(200);
  }
  const took = Math.round(performance.now() - started);
  if (process.env["PRINT_ATTACKS"]) process.stdout.write(`layers of another client: ${took} ms\n`);
  expect(took).toBeLessThan(5000);
  hub.faults.clear();
  await Promise.all(abandoned);
}, 60_000);

test("HEADs of blobs that are not held are remembered, and leave requests for others", async () => {
  const { hub, hubcap } = await start();
  const contents = Array.from({ length: 1200 }, (_, index) => bytesContent(`blob ${index}`));
  const digests = pushBlobs(hub, contents);
  const head = (digest: string) =>
    ask(`${hubcap.url}/v2/library/strange/blobs/${digest}`, { method: "HEAD", agent: stranger });
  const [first = ""] = digests;
  expect((await head(first)).status).toBe(200);
  const before = hub.counts.requests.length;
  for (let time = 0; time < 20; time += 1) expect((await head(first)).status).toBe(200);
  expect(hub.counts.requests.length).toBe(before);
  const heads = digests.map((digest) => head(digest).catch(() => undefined));
  await pause(1000);
  const image = await buildImage({ seed: "other", platforms: ["linux/amd64"] });
  hub.push(image, "library/other", "1");
  expect((await ask(`${hubcap.url}/v2/library/other/manifests/1`)).status).toBe(200);
  for (const digest of image.blobs.keys())
    expect((await ask(`${hubcap.url}/v2/library/other/blobs/${digest}`)).status).toBe(200);
  await Promise.all(heads);
}, 60_000);
