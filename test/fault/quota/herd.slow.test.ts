/** A whole cluster starts at once: what it costs is what it asks for, once, and nothing the second time. */
import { afterEach, expect, test } from "vitest";
import { inTurns, openFleet, type Fleet, type FleetOptions } from "../../support/fleet.ts";
import type { PullResult } from "../../support/pullSession.ts";

const nodes = Array.from({ length: 500 }, (_, number) => `node-${number}`);
const repositories = Array.from({ length: 20 }, (_, number) => `library/app-${number}`);

let fleet: Fleet | undefined;

afterEach(() => fleet?.close());

async function open(options: FleetOptions): Promise<Fleet> {
  fleet = await openFleet({ hub: { limit: 100 }, ...options });
  for (const repository of repositories) await fleet.push(repository);
  return fleet;
}

interface Pull {
  readonly node: string;
  readonly repository: string;
  readonly platform: string;
}

/** What the nodes pull: `images` of the twenty each, beginning with another one, for two platforms. */
function pulls(images: number): Pull[] {
  return nodes.flatMap((node, number) =>
    Array.from({ length: images }, (_, turn) => ({
      node,
      repository: repositories[(number + turn) % repositories.length] ?? "",
      platform: number % 2 === 0 ? "linux/amd64" : "linux/arm64",
    })),
  );
}

function pullAll(fleet: Fleet, wanted: readonly Pull[]): Promise<PullResult[]> {
  return inTurns(wanted, 100, ({ node, repository, platform }) => fleet.pull(node, repository, { platform }));
}

test("R49: 500 nodes that start with 20 images spend a pull for each manifest, and nothing the second time", async () => {
  const fleet = await open({});
  const { hub } = fleet;
  const first = await pullAll(fleet, pulls(20));
  expect(first.flatMap(({ errors }) => errors)).toEqual([]);
  const asked = new Set(first.flatMap(({ root, manifest }) => [root, manifest]));
  expect(asked.size).toBe(60);
  expect(hub.counts.manifestGets.total).toBe(60);
  expect(hub.counts.charged.total).toBe(60);
  expect(new Set(Object.keys(hub.counts.charged.byDigest))).toEqual(asked);
  expect(hub.counts.manifestHeads.total).toBe(20);
  expect(await fleet.hubcap.metric("hubcap_quota_spent_total", { upstream: "docker.io" })).toBe(60);

  hub.counts.reset();
  const second = await pullAll(fleet, pulls(20));
  expect(second.flatMap(({ errors }) => errors)).toEqual([]);
  expect(hub.counts.requests).toEqual([]);
}, 300_000);

test("with pull policy Always and no time to live, a wave costs one HEAD for each tag and no pull", async () => {
  const fleet = await open({ config: { freshness: { tagTtl: "0s" } } });
  const { hub } = fleet;
  const first = await inTurns(repositories, 20, (repository) => fleet.pull("node-0", repository));
  expect(first.flatMap(({ errors }) => errors)).toEqual([]);
  for (const wave of ["first", "second"]) {
    hub.counts.reset();
    // Until it is released, no tag is known, so all that were accepted by then wait for the same HEAD.
    const held = hub.fault({ method: "HEAD", asks: "manifest", kind: "hang" });
    const heads = pulls(1).map(({ repository }) => fleet.head(repository));
    await Promise.all(heads.map(({ taken }) => taken));
    held.release();
    const found = await Promise.all(heads.map(({ digest }) => digest));
    const rest = await inTurns(
      pulls(1).map((pull, number) => ({ ...pull, reference: found[number] ?? "" })),
      100,
      ({ node, repository, reference }) => fleet.pull(node, repository, { reference }),
    );
    expect(rest.flatMap(({ errors }) => errors)).toEqual([]);
    const { manifestHeads, manifestGets, blobGets } = hub.counts;
    expect(Object.values(manifestHeads.byRepository), `${wave} wave`).toEqual(repositories.map(() => 1));
    expect([manifestHeads.total, manifestGets.total, blobGets.total]).toEqual([20, 0, 0]);
  }
  expect(hub.spent()).toBe(40);
});
