/** A tag moves while nothing is left: nodes go on with the image that is held, until the new one can be had. */
import { afterEach, expect, test } from "vitest";
import { openFleet, type Fleet } from "../../support/fleet.ts";
import type { Image } from "../../support/images.ts";

const hour = 3600;
const tag = "library/app";

let fleet: Fleet | undefined;

afterEach(() => fleet?.close());

/** Of 20 pulls, two are spent for an image that is held from now on. */
async function open(): Promise<{ fleet: Fleet; old: Image }> {
  fleet = await openFleet({ hub: { limit: 20 } });
  const old = await fleet.push(tag, { seed: "old" });
  expect((await fleet.pull("node-0", tag)).errors).toEqual([]);
  return { fleet, old };
}

async function expectStale(fleet: Fleet, node: string, { root }: Image): Promise<void> {
  const result = await fleet.pull(node, tag);
  expect([node, result.errors, result.root]).toEqual([node, [], root.digest]);
  expect([...result.warnings][0]).toMatch(/^299 - "served from cache/);
}

test("a HEAD that learns of a new image, and that nothing is left for it, gives the one that is held", async () => {
  const { fleet, old } = await open();
  await fleet.push(tag, { seed: "new" });
  fleet.hub.consume(18);
  await fleet.pass(5 * 60 + 1);
  await expectStale(fleet, "node-1", old);
  await expectStale(fleet, "node-2", old);
  expect(fleet.hub.counts.manifestGets.total).toBe(2);
});

test("a new image of which only the index could be had does not stand in for the one that is held", async () => {
  const { fleet, old } = await open();
  await fleet.push(tag, { seed: "new" });
  fleet.hub.consume(17);
  await fleet.pass(5 * 60 + 1);
  // The first node's pull ends half-way: it was promised the new image when there was still one pull.
  await fleet.pull("node-1", tag);
  await fleet.pass(hour);
  await expectStale(fleet, "node-2", old);
});

test("when others' pulls have come back, a question that costs nothing finds out", async () => {
  fleet = await openFleet({ hub: { limit: 20 } });
  const { hub } = fleet;
  hub.consume(10);
  await fleet.pass(5 * hour);
  const old = await fleet.push(tag, { seed: "old" });
  expect((await fleet.pull("node-0", tag)).errors).toEqual([]);
  hub.consume(8);
  await fleet.pass(5 * 60 + 1);
  await fleet.pull("node-1", tag);
  expect(await fleet.state()).toBe("exhausted");
  await fleet.pass(hour / 2);
  const meanwhile = await fleet.pull("node-2", tag);
  expect([meanwhile.errors, meanwhile.root]).toEqual([[], old.root.digest]);

  // The ten that others spent first leave the window.
  await fleet.pass(hour / 2);
  expect(hub.remaining()).toBe(10);
  const current = await fleet.push(tag, { seed: "new" });
  await fleet.pull("node-3", tag);
  await fleet.pass(11);
  const later = await fleet.pull("node-4", tag);
  expect([later.errors, later.root, [...later.warnings]]).toEqual([[], current.root.digest, []]);
  expect(await fleet.state()).toBe("ok");
});
