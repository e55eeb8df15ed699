/** What is left of a limit buys images that run: none is begun of which the rest cannot be paid. */
import { afterEach, expect, test } from "vitest";
import { errorOf } from "../../support/ask.ts";
import { patience } from "../../support/patience.ts";
import { inTurns, openFleet, type Fleet, type FleetOptions } from "../../support/fleet.ts";

let fleet: Fleet | undefined;

afterEach(() => fleet?.close());

async function open(options: FleetOptions): Promise<Fleet> {
  fleet = await openFleet(options);
  return fleet;
}

/** Repositories with an image each, of an index and two platforms. */
async function pushed(fleet: Fleet, count: number): Promise<readonly string[]> {
  const names = Array.from({ length: count }, (_, number) => `library/app-${number}`);
  await inTurns(names, 4, (name) => fleet.push(name));
  return names;
}

test("24 pulls bring twelve images whole to 40 nodes that want 40 at once, and the others are told before they spend any", async () => {
  const fleet = await open({ hub: { limit: 24 }, upstream: { quota: { maxWait: "2s" } } });
  const { hub } = fleet;
  const names = await pushed(fleet, 40);
  const results = await Promise.all(names.map((name, number) => fleet.pull(`node-${number}`, name)));
  expect(results.filter(({ errors }) => errors.length === 0)).toHaveLength(12);
  expect(hub.counts.manifestGets.total).toBe(24);
  expect(hub.counts.charged.total).toBe(24);
  for (const [number, { errors }] of results.entries()) {
    if (errors.length === 0) continue;
    expect(errors[0]).toContain("TOOMANYREQUESTS");
    expect(hub.counts.manifestGets.byRepository[names[number] ?? ""]).toBeUndefined();
  }
});

test("a refusal says what the image takes, and one that takes no more than is left is pulled", async () => {
  const fleet = await open({ hub: { limit: 3 } });
  await fleet.push("library/index");
  expect((await fleet.pull("node-1", "library/index")).errors).toEqual([]);
  const { root } = await fleet.push("library/other");
  await fleet.push("library/single", { single: true });
  const refused = await fleet.manifest("library/other", root.digest);
  expect(refused.status).toBe(429);
  expect(errorOf(refused).message).toMatch(
    /has 1 pull left of 3 in 6 h; this image takes 2, which are free at /,
  );
  expect((await fleet.pull("node-1", "library/single")).errors).toEqual([]);
});

test("what was set aside outlives a crash, and is for whoever follows the index first", async () => {
  const fleet = await open({ hub: { limit: 2 } });
  const { root, platforms } = await fleet.push("library/app");
  await fleet.push("library/other", { single: true });
  expect((await fleet.manifest("library/app", root.digest)).status).toBe(200);
  // A manifest is answered before it is stored.
  const explained = (): Promise<unknown> =>
    fleet.hubcap.status(`/api/v1/explain?image=docker.io/library/app@${root.digest}`);
  await expect.poll(explained, patience).toMatchObject({ cost: 1, wouldAnswer: "miss" });
  await fleet.crash();
  expect((await fleet.pull("node-2", "library/other")).errors[0]).toContain("TOOMANYREQUESTS");
  const child = platforms.get("linux/arm64")?.manifest.digest ?? "";
  expect((await fleet.manifest("library/app", child)).status).toBe(200);
  expect(fleet.hub.counts.charged.total).toBe(2);
});

test("what was set aside is given back when it is not used in a minute, or is found held", async () => {
  const fleet = await open({ hub: { limit: 5 } });
  const old = await fleet.push("library/app");
  await fleet.hold("node-1", "library/app");
  const held = old.platforms.get("linux/amd64")?.manifest.digest ?? "";
  await fleet.push("library/one", { single: true });
  const status = async (): Promise<unknown> => {
    const { upstreams } = (await fleet.hubcap.status("/api/v1/quota")) as {
      upstreams: { name: string; remaining: number; setAside: number }[];
    };
    const { remaining, setAside } = upstreams.find(({ name }) => name === "docker.io") ?? {};
    return { remaining, setAside };
  };
  expect(await status()).toEqual({ remaining: 3, setAside: 0 });

  // Another index with the same platforms, as when only attestations were added.
  const newer = await fleet.push("library/app", { attestations: true });
  expect((await fleet.manifest("library/app", newer.root.digest)).status).toBe(200);
  expect(await status()).toEqual({ remaining: 2, setAside: 1 });
  expect((await fleet.manifest("library/app", held)).status).toBe(200);
  expect(await status()).toEqual({ remaining: 2, setAside: 0 });

  const newest = await fleet.push("library/app", { platforms: ["linux/arm64", "linux/amd64"] });
  expect((await fleet.manifest("library/app", newest.root.digest)).status).toBe(200);
  expect(await status()).toEqual({ remaining: 1, setAside: 1 });
  expect((await fleet.pull("node-1", "library/one")).errors[0]).toContain("TOOMANYREQUESTS");
  await fleet.pass(61);
  expect((await fleet.pull("node-1", "library/one")).errors).toEqual([]);
  expect(await status()).toEqual({ remaining: 0, setAside: 0 });
});
