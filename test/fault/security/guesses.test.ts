/** Digests and names that a client makes up: they cost the cluster none of its pulls. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { ask, type Reply } from "../../support/ask.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";

let hub: Hub;
let hubcap: Hubcap;

beforeEach(async () => {
  hub = await startHub({ limit: 200 });
  hub.push(await buildImage(), "library/app", "1");
  // As many guesses as the client likes: that they are free must not rest on its limit.
  const misses = { burst: 1000, perMinute: 1000 };
  hubcap = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub) }, limits: { misses } } });
});

afterEach(async () => {
  await hubcap.dispose();
  await hub.stop();
});

const get = (path: string): Promise<Reply> => ask(`${hubcap.url}/v2/${path}`);

const madeUp = (number: number): string => `sha256:${String(number).padStart(64, "0")}`;

async function pullsLeft(): Promise<number | undefined> {
  const { upstreams } = (await hubcap.status("/api/v1/quota")) as { upstreams: { remaining?: number }[] };
  return upstreams[0]?.remaining;
}

/** Cold pulls of others, by tag and by digest. */
async function pullOthers(): Promise<void> {
  for (const name of ["by-tag", "by-digest"]) {
    const image = await buildImage({ seed: name });
    hub.push(image, `library/${name}`, "1");
    const reference = name === "by-tag" ? "1" : image.root.digest;
    expect((await get(`library/${name}/manifests/${reference}`)).status).toBe(200);
  }
}

test("199 digests that do not exist cost no pull, and all others can pull", async () => {
  await get("library/app/manifests/1");
  const before = await pullsLeft();
  for (let number = 0; number < 199; number += 1)
    expect((await get(`library/app/manifests/${madeUp(number)}`)).status).toBe(404);
  expect(hub.counts.charged.total).toBe(1);
  expect(await pullsLeft()).toBe(before);
  await pullOthers();
});

test("where the upstream answers no HEAD, what 199 guesses may have cost comes back when it says that it did not count them", async () => {
  await get("library/app/manifests/1");
  hub.fault({
    origin: "registry",
    asks: "manifest",
    method: "HEAD",
    repository: "library/app",
    kind: "status",
    status: 405,
  });
  hub.fault({
    origin: "registry",
    asks: "manifest",
    method: "GET",
    repository: "library/app",
    kind: "status",
    status: 404,
  });
  for (let number = 0; number < 199; number += 1) await get(`library/app/manifests/${madeUp(number)}`);
  await pullOthers();
  expect(await pullsLeft()).toBe(200 - hub.counts.charged.total);
});

test("a layer of a held image that is asked for as a manifest costs no pull", async () => {
  await get("library/app/manifests/1");
  const image = await buildImage();
  for (const { manifest } of image.platforms.values()) await get(`library/app/manifests/${manifest.digest}`);
  const before = hub.counts.charged.total;
  for (const { layers, config } of image.platforms.values())
    for (const { digest } of [...layers, config])
      expect((await get(`library/app/manifests/${digest}`)).status).toBe(404);
  expect(hub.counts.charged.total).toBe(before);
});

test("a child that a held index names is fetched without a HEAD", async () => {
  const { body } = await get("library/app/manifests/1");
  const { manifests } = JSON.parse(body.toString()) as { manifests: { digest: string }[] };
  hub.counts.reset();
  for (const { digest } of manifests) expect((await get(`library/app/manifests/${digest}`)).status).toBe(200);
  expect(hub.counts.manifestHeads.total).toBe(0);
  expect(hub.counts.manifestGets.total).toBe(manifests.length);
});

test("a node that asks for 120 images at once, none of which is held, gets all of them", async () => {
  hub.setLimit(10_000);
  await hubcap.restart({ upstreams: { "docker.io": upstreamOf(hub) } });
  const names = Array.from({ length: 120 }, (_, number) => `library/cold-${number}`);
  for (const name of names) hub.push(await buildImage({ seed: name }), name, "1");
  const statuses = await Promise.all(names.map(async (name) => (await get(`${name}/manifests/1`)).status));
  expect(statuses.filter((status) => status !== 200)).toEqual([]);
});
