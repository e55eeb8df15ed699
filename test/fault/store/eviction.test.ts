/** Cases R15-R17 on a real Hubcap whose capacity is that of a few images. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { pullLikeContainerd } from "../../support/pull.ts";
import { whole } from "../../support/reader.ts";
import { openSetup, type Setup } from "../../support/setup.ts";

const mib = 1024 * 1024;
const elevenMinutes = 11 * 60_000;

let setup: Setup;

beforeAll(async () => {
  setup = await openSetup({ config: { storage: { capacity: "10MiB" } } });
});
afterAll(() => setup.close());

async function pull(repository: string): Promise<void> {
  const pull = { mirror: setup.hubcap.url, ns: "docker.io", repository, reference: "1" };
  expect((await pullLikeContainerd(pull)).errors).toEqual([]);
}

const held = (): Promise<number> => setup.hubcap.metric("hubcap_cache_bytes");

it("makes space for what comes in; readers of what goes finish, and shared layers stay (R15, R16, R17)", async () => {
  const options = { layers: 2, sharedLayers: 1, layerBytes: 2 * mib, platforms: ["linux/amd64"] };
  const old = await setup.push("library/old", options);
  for (const name of ["library/new", "library/newer", "library/newest"]) await setup.push(name, options);
  await pull("library/old");
  await setup.advance(elevenMinutes);
  await pull("library/new");
  // 2 MiB that both share, and 2 of each. A reader takes its time over one of the first.
  await expect.poll(held).toBeGreaterThan(6 * mib);
  const slow = setup.read(old, { bytesPerSecond: 4 * mib });
  await slow.reached(64 * 1024);
  await pull("library/newer");
  await setup.advance(2 * elevenMinutes);
  setup.hub.counts.reset();
  await pull("library/newest");
  // The fill went on as soon as there was enough for it, and the eviction after that.
  await expect
    .poll(() => setup.hubcap.metric("hubcap_cache_evicted_bytes_total", { reason: "capacity" }))
    .toBeGreaterThan(2 * mib);
  expect(await slow.ended).toEqual(whole(old.bytes));
  // The shared layer was not fetched again, and what went can be had again.
  expect(setup.hub.counts.blobGets.total).toBe(2);
  await pull("library/old");
  await expect.poll(held).toBeLessThanOrEqual(10 * mib);
});
