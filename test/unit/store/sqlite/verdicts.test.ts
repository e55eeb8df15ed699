/** Findings outlive what they are about: eviction, a damaged catalog, a restart. What no rule asks for is forgotten. */
import { expect, it } from "vitest";
import { ociIndex, ociManifest } from "../../../../src/oci/descriptor.ts";
import { digestOf } from "../../../../src/oci/digest.ts";
import { parseTag, type Repository, type Tag } from "../../../../src/oci/reference.ts";
import { SqliteCatalog } from "../../../../src/store/sqlite/catalog.ts";
import { openDatabase, SqliteFile } from "../../../../src/store/sqlite/database.ts";
import { SqliteAnchors, SqliteSightings } from "../../../../src/store/sqlite/state.ts";
import { SqliteVerdicts } from "../../../../src/store/sqlite/verdicts.ts";
import { SqliteInventory } from "../../../../src/store/sqlite/inventory.ts";
import { shelf } from "../../../support/shelfUpstream.ts";
import { catalogSchema } from "../../../../src/store/sqlite/schema.ts";
import { stateSchema } from "../../../../src/store/sqlite/stateSchema.ts";

const tag = (text: string): Tag => {
  const read = parseTag(text);
  if (!read) throw new Error(`${text} is no tag`);
  return read;
};
const [here, there]: [Repository, Repository] = [shelf(0), shelf(1)];
const [index, child, image, layer] = ["index", "child", "image", "layer"].map((name) =>
  digestOf(Buffer.from(name)),
) as [
  ReturnType<typeof digestOf>,
  ReturnType<typeof digestOf>,
  ReturnType<typeof digestOf>,
  ReturnType<typeof digestOf>,
];

async function hold() {
  const database = openDatabase(":memory:", catalogSchema);
  const catalog = new SqliteCatalog(new SqliteFile(database), () => 1);
  await catalog.holdManifest(here, { digest: index, mediaType: ociIndex, size: 1 }, [child]);
  await catalog.holdManifest(here, { digest: image, mediaType: ociManifest, size: 1 }, [child, layer]);
  return {
    database,
    verdicts: new SqliteVerdicts(new SqliteFile(database)),
    anchors: new SqliteAnchors(SqliteFile.inMemory(stateSchema)),
    sightings: new SqliteSightings(SqliteFile.inMemory(stateSchema)),
  };
}

it("keeps the first digest of a tag, whatever comes later", async () => {
  const { anchors } = await hold();
  expect(await anchors.of(here, tag("v1"))).toBeUndefined();
  expect(await anchors.keep(here, tag("v1"), index, 1)).toBe(index);
  expect(await anchors.keep(here, tag("v1"), image, 2)).toBe(index);
  expect(await anchors.of(here, tag("v1"))).toBe(index);
  expect(await anchors.of(there, tag("v1"))).toBeUndefined();
});

it("counts for a child what was seen of its index", async () => {
  const { verdicts, sightings } = await hold();
  await sightings.note(here, child, undefined, 70);
  await sightings.note(here, index, tag("v1"), 50);
  await sightings.note(here, index, tag("v1"), 10);
  expect(await sightings.since(here, [child, ...(await verdicts.namersAnywhere(child))])).toBe(50);
  expect(await sightings.tags(here, [child, ...(await verdicts.namersAnywhere(child))])).toEqual(["v1"]);
  expect(await sightings.tags(there, [child, ...(await verdicts.namersAnywhere(child))])).toEqual([]);
  expect(await sightings.since(there, [child, ...(await verdicts.namersAnywhere(child))])).toBeUndefined();
});

it("tells what an allowed manifest names, in its own repository and under its own policy", async () => {
  const { verdicts } = await hold();
  await verdicts.keep(here, image, "one", {});
  await verdicts.keep(here, index, "one", { refusal: { reason: "size", why: "large" } });
  expect(await verdicts.isNamedByAllowed(here, layer, ["two", "one"], "any")).toBe(true);
  expect(await verdicts.isNamedByAllowed(here, layer, ["two"], "any")).toBe(false);
  expect(await verdicts.isNamedByAllowed(there, layer, ["one"], "any")).toBe(false);
  // That an image names it as a layer says nothing of a manifest.
  expect(await verdicts.isNamedByAllowed(here, child, ["one"], "index")).toBe(false);
  await verdicts.keep(here, index, "one", {});
  expect(await verdicts.isNamedByAllowed(here, child, ["one"], "index")).toBe(true);
});

it("forgets verdicts of policies that are gone, and tags that may move again", async () => {
  const { verdicts, anchors } = await hold();
  const refusal = { reason: "age", why: "young" } as const;
  await verdicts.keep(here, image, "one", { refusal, until: 7 });
  await verdicts.keep(here, image, "two", {});
  await anchors.keep(here, tag("v1"), index, 1);
  await anchors.keep(here, tag("v2"), index, 1);
  await verdicts.prune(["one"]);
  await anchors.prune((_repository, name) => name === "v2");
  expect(await verdicts.of(here, image, "one")).toEqual({ refusal, until: 7 });
  expect(await verdicts.of(here, image, "two")).toBeUndefined();
  expect(await anchors.of(here, tag("v1"))).toBeUndefined();
  expect(await anchors.of(here, tag("v2"))).toBe(index);
});

it("outlives eviction", async () => {
  const { database, verdicts, anchors, sightings } = await hold();
  await anchors.keep(here, tag("v1"), index, 1);
  await sightings.note(here, index, tag("v1"), 5);
  await verdicts.keep(here, index, "one", {});
  const inventory = new SqliteInventory(new SqliteFile(database));
  while (!(await inventory.drop(here, index)));
  expect(await anchors.of(here, tag("v1"))).toBe(index);
  expect(await sightings.since(here, [index, ...(await verdicts.namersAnywhere(index))])).toBe(5);
  expect(await verdicts.of(here, index, "one")).toEqual({});
});
