/** Findings outlive what they are about: eviction, a damaged catalog, a restart. What no rule asks for is forgotten. */
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { ociIndex, ociManifest } from "../../../../src/oci/descriptor.ts";
import { digestOf } from "../../../../src/oci/digest.ts";
import { parseTag, type Repository, type Tag } from "../../../../src/oci/reference.ts";
import { SqliteCatalog } from "../../../../src/store/sqlite/catalog.ts";
import { openDatabase } from "../../../../src/store/sqlite/database.ts";
import { lastingFindings, SqliteFindings } from "../../../../src/store/sqlite/verdicts.ts";
import { SqliteInventory } from "../../../../src/store/sqlite/inventory.ts";
import { renew } from "../../../../src/store/sqlite/live.ts";
import { shelf } from "../../../support/shelfUpstream.ts";

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
  const database = openDatabase(":memory:");
  const catalog = new SqliteCatalog(database, () => 1);
  await catalog.holdManifest(here, { digest: index, mediaType: ociIndex, size: 1 }, [child]);
  await catalog.holdManifest(here, { digest: image, mediaType: ociManifest, size: 1 }, [child, layer]);
  return { database, findings: new SqliteFindings(database) };
}

it("keeps the first digest of a tag, whatever comes later", async () => {
  const { findings } = await hold();
  expect(await findings.first(here, tag("v1"))).toBeUndefined();
  expect(await findings.keepFirst(here, tag("v1"), index, 1)).toBe(index);
  expect(await findings.keepFirst(here, tag("v1"), image, 2)).toBe(index);
  expect(await findings.first(here, tag("v1"))).toBe(index);
  expect(await findings.first(there, tag("v1"))).toBeUndefined();
});

it("counts for a child what was seen of its index", async () => {
  const { findings } = await hold();
  await findings.sight(here, child, undefined, 70);
  await findings.sight(here, index, tag("v1"), 50);
  await findings.sight(here, index, tag("v1"), 10);
  expect(await findings.seenSince(here, child)).toBe(50);
  expect(await findings.tagsSeen(here, child)).toEqual(["v1"]);
  expect(await findings.tagsSeen(there, child)).toEqual([]);
  expect(await findings.seenSince(there, child)).toBeUndefined();
});

it("tells what an allowed manifest names, in its own repository and under its own policy", async () => {
  const { findings } = await hold();
  await findings.keepVerdict(here, image, "one", {});
  await findings.keepVerdict(here, index, "one", { refusal: { reason: "size", why: "large" } });
  expect(await findings.isNamedByAllowed(here, layer, ["two", "one"], "any")).toBe(true);
  expect(await findings.isNamedByAllowed(here, layer, ["two"], "any")).toBe(false);
  expect(await findings.isNamedByAllowed(there, layer, ["one"], "any")).toBe(false);
  // That an image names it as a layer says nothing of a manifest.
  expect(await findings.isNamedByAllowed(here, child, ["one"], "index")).toBe(false);
  await findings.keepVerdict(here, index, "one", {});
  expect(await findings.isNamedByAllowed(here, child, ["one"], "index")).toBe(true);
});

it("forgets verdicts of policies that are gone, and tags that may move again", async () => {
  const { findings } = await hold();
  const refusal = { reason: "age", why: "young" } as const;
  await findings.keepVerdict(here, image, "one", { refusal, until: 7 });
  await findings.keepVerdict(here, image, "two", {});
  await findings.keepFirst(here, tag("v1"), index, 1);
  await findings.keepFirst(here, tag("v2"), index, 1);
  await findings.prune(["one"], (_repository, name) => name === "v2");
  expect(await findings.verdict(here, image, "one")).toEqual({ refusal, until: 7 });
  expect(await findings.verdict(here, image, "two")).toBeUndefined();
  expect(await findings.first(here, tag("v1"))).toBeUndefined();
  expect(await findings.first(here, tag("v2"))).toBe(index);
});

it("outlives eviction", async () => {
  const { database, findings } = await hold();
  await findings.keepFirst(here, tag("v1"), index, 1);
  await findings.sight(here, index, tag("v1"), 5);
  await findings.keepVerdict(here, index, "one", {});
  const inventory = new SqliteInventory(database);
  while (!(await inventory.drop(here, index)));
  expect(await findings.first(here, tag("v1"))).toBe(index);
  expect(await findings.seenSince(here, index)).toBe(5);
  expect(await findings.verdict(here, index, "one")).toEqual({});
});

it("carries what cannot be found out again over from a damaged catalog", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-findings-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, "catalog.sqlite");
  const database = openDatabase(path);
  const findings = new SqliteFindings(database);
  await findings.keepFirst(here, tag("v1"), index, 1);
  await findings.sight(here, index, undefined, 5);
  database.pragma("wal_checkpoint(TRUNCATE)");
  database.close();
  const file = await open(path, "r+");
  const { size } = await file.stat();
  await file.write(Buffer.alloc(10, 0xff), 0, 10, size - 10);
  await file.close();
  const { fresh } = renew(path, lastingFindings, 0);
  const after = new SqliteFindings(fresh);
  expect(await after.first(here, tag("v1"))).toBe(index);
  expect(await after.seenSince(here, index)).toBe(5);
  fresh.close();
});
