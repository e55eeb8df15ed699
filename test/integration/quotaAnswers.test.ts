/** What answers to pulls say about quota, and what Hubcap counts as saved. */
import { afterEach, expect, test } from "vitest";
import type { Snapshot } from "../../src/quota/snapshot.ts";
import { ask, type AskOptions } from "../support/ask.ts";
import { startHub, type Hub, type HubOptions } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import { buildImage, type Image } from "../support/images.ts";

const opened: { hub: Hub; hubcap: Hubcap }[] = [];

afterEach(async () => {
  for (const { hub, hubcap } of opened.splice(0)) {
    await hubcap.dispose();
    await hub.stop();
  }
});

async function open(hubOptions: HubOptions, upstream: object = {}) {
  const hub = await startHub(hubOptions);
  const hubcap = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub, upstream) } } });
  opened.push({ hub, hubcap });
  return { hub, hubcap };
}

async function push(hub: Hub, name: string): Promise<Image> {
  const image = await buildImage({ seed: name, platforms: ["linux/amd64"], layers: 1, layerBytes: 200_000 });
  hub.push(image, `library/${name}`, "1");
  return image;
}

function get(hubcap: Hubcap, path: string, options: AskOptions = {}) {
  return ask(`${hubcap.url}/v2/library/${path}?ns=docker.io`, options);
}

async function quotaOf(hubcap: Hubcap): Promise<Snapshot> {
  const { upstreams } = (await hubcap.status("/api/v1/quota")) as { upstreams: readonly [Snapshot] };
  return upstreams[0];
}

/** Headers of the IETF's draft, and whether Docker's own came along. */
function rateLimitOf({ headers }: Awaited<ReturnType<typeof ask>>) {
  expect(
    Object.keys(headers).filter((name) => /^(ratelimit-(?!policy$)|docker-ratelimit)/.test(name)),
  ).toEqual([]);
  return [headers["ratelimit-policy"], headers["ratelimit"]];
}

test("an answer that spent a pull tells how many are left, one that spent none does not", async () => {
  const { hub, hubcap } = await open({ limit: 10 });
  await push(hub, "a");
  const [policy, left] = rateLimitOf(await get(hubcap, "a/manifests/1"));
  expect(policy).toBe('"docker.io";q=10;w=21600');
  expect(left).toMatch(/^"docker\.io";r=9;t=21\d{3}$/);
  expect(rateLimitOf(await get(hubcap, "a/manifests/1"))).toEqual([undefined, undefined]);
  expect(rateLimitOf(await get(hubcap, "a/manifests/1", { method: "HEAD" }))).toEqual([undefined, undefined]);
});

test("where an account has no limit, the headers name none", async () => {
  const accounts = { paid: { password: "p", limit: "unlimited" } } as const;
  const { hub, hubcap } = await open({ accounts }, { credential: { username: "paid", password: "p" } });
  await push(hub, "a");
  await get(hubcap, "a/manifests/1");
  await push(hub, "b");
  expect(rateLimitOf(await get(hubcap, "b/manifests/1"))).toEqual([undefined, undefined]);
});

test.each([
  ["hold", 429],
  ["fallback", 503],
])("with whenExhausted: %s a refusal is a %i that tells when the next pull is free", async (step, status) => {
  const { hub, hubcap } = await open({ limit: 1 }, { whenExhausted: step });
  await push(hub, "a");
  await push(hub, "b");
  expect((await get(hubcap, "a/manifests/1")).status).toBe(200);
  const refused = await get(hubcap, "b/manifests/1");
  expect(refused.status).toBe(status);
  const [policy, left = ""] = rateLimitOf(refused);
  expect(policy).toBe('"docker.io";q=1;w=21600');
  const [, reset] = /^"docker\.io";r=0;t=(\d+)$/.exec(String(left)) ?? [];
  // Retry-After may not lie before the time at which the quota says it comes back.
  expect(Number(refused.headers["retry-after"])).toBeGreaterThanOrEqual(Number(reset));
  expect(Number(reset)).toBeGreaterThan(21_500);
});

test("what was served without asking is counted: pulls for manifests, and the bytes as they were sent", async () => {
  const { hub, hubcap } = await open({ limit: 10 });
  const image = await push(hub, "a");
  const { root } = image;
  const layer = image.platforms.get("linux/amd64")?.layers[0];
  if (!layer) throw new Error("an image without a layer");
  const manifest = "a/manifests/1";
  const blob = `a/blobs/${layer.digest}`;

  await get(hubcap, manifest);
  await get(hubcap, blob);
  expect((await quotaOf(hubcap)).saved).toEqual({ pulls: 0, bytes: 0 });

  await get(hubcap, manifest);
  await expect.poll(async () => (await quotaOf(hubcap)).saved).toEqual({ pulls: 1, bytes: root.size });
  await get(hubcap, blob);
  const both = root.size + layer.size;
  await expect.poll(async () => (await quotaOf(hubcap)).saved).toEqual({ pulls: 1, bytes: both });

  // Neither questions about headers nor refusals save anything.
  await get(hubcap, manifest, { method: "HEAD" });
  await get(hubcap, blob, { method: "HEAD" });
  await get(hubcap, blob, { headers: { range: `bytes=${layer.size}-` } });
  expect((await get(hubcap, "nothing/manifests/1")).status).toBe(403);
  await get(hubcap, blob);
  const more = both + layer.size;
  await expect.poll(async () => (await quotaOf(hubcap)).saved).toEqual({ pulls: 1, bytes: more });

  await get(hubcap, blob, { headers: { range: "bytes=0-99999" } });
  await expect.poll(async () => (await quotaOf(hubcap)).saved.bytes).toBeGreaterThanOrEqual(more + 100_000);
  // The headers of a partial answer are counted with it.
  expect((await quotaOf(hubcap)).saved.bytes).toBeLessThan(more + 101_000);
  expect(await hubcap.metric("hubcap_quota_saved_pulls_total", { upstream: "docker.io" })).toBe(1);
});
