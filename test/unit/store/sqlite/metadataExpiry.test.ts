/** What upstreams have only said does not grow without end, and what can be served stays. */
import { beforeEach, describe, expect, it } from "vitest";
import { ociManifest } from "../../../../src/oci/descriptor.ts";
import { digestOf } from "../../../../src/oci/digest.ts";
import { parseTag, type Repository, type RepositoryName, type Tag } from "../../../../src/oci/reference.ts";
import { SqliteCatalog } from "../../../../src/store/sqlite/catalog.ts";
import { openDatabase, SqliteFile } from "../../../../src/store/sqlite/database.ts";
import { SqliteMetadataExpiry } from "../../../../src/store/sqlite/metadataExpiry.ts";
import type { MetadataLimits } from "../../../../src/store/catalog.ts";
import { SqliteInventory } from "../../../../src/store/sqlite/inventory.ts";
import { catalogSchema } from "../../../../src/store/sqlite/schema.ts";

const repository: Repository = { upstream: "docker.io", name: "library/app" as RepositoryName };
const limits: MetadataLimits = { tagAgeMs: 1000, tags: 300, listAgeMs: 1000, lists: 5, listBytes: 1000 };
const start = 1_000_000;

let catalog: SqliteCatalog;
let inventory: SqliteInventory;
let expiry: SqliteMetadataExpiry;

beforeEach(() => {
  const database = openDatabase(":memory:", catalogSchema);
  catalog = new SqliteCatalog(new SqliteFile(database), () => start);
  inventory = new SqliteInventory(new SqliteFile(database));
  expiry = new SqliteMetadataExpiry(new SqliteFile(database));
});

const manifest = (seed: string) => ({ digest: digestOf(Buffer.from(seed)), mediaType: ociManifest, size: 1 });
const tagOf = (name: number): Tag => parseTag(`v${name}`) as Tag;

async function sweep(now: number): Promise<void> {
  while ((await expiry.sweep(now, limits)) > 0);
}

/** A list of `length` bytes, which are fewer characters. */
function keep(subject: string, length: number, checkedAt: number): Promise<void> {
  return catalog.keepListing(repository, subject, { body: "ä".repeat(length / 2), checkedAt });
}

/** The numbers of the tags that are known, of the first `count`. */
async function known(count: number): Promise<number[]> {
  const numbers = Array.from({ length: count }, (_, number) => number);
  const records = await Promise.all(numbers.map((number) => catalog.tag(repository, tagOf(number))));
  return numbers.filter((number) => records[number]);
}

async function lists(...subjects: readonly string[]): Promise<string[]> {
  const found = await Promise.all(subjects.map((subject) => catalog.listing(repository, subject)));
  return subjects.filter((_, index) => found[index]);
}

describe("tags that nothing is held for", () => {
  it("go when they are old, and when a clock was ahead; those that can be served stay for ever", async () => {
    await catalog.holdManifest(repository, manifest("held"), []);
    await catalog.resolve(repository, tagOf(0), manifest("held"), start);
    await catalog.resolve(repository, tagOf(1), manifest("old"), start);
    await catalog.resolve(repository, tagOf(2), manifest("new"), start + 900);
    await catalog.resolve(repository, tagOf(3), manifest("ahead"), start + 10_000);
    // It has moved on, but what it meant before can be served.
    await catalog.resolve(repository, tagOf(0), manifest("moved"), start);
    await sweep(start + 1100);
    expect(await known(4)).toEqual([0, 2]);
    await inventory.drop(repository, manifest("held").digest);
    await sweep(start + 1100);
    expect(await known(4)).toEqual([2]);
  });

  it("go when they are too many, the oldest first", async () => {
    for (let number = 0; number < 800; number++)
      await catalog.resolve(repository, tagOf(number), manifest("any"), start + number);
    await sweep(start + 800);
    const left = await known(800);
    expect(left).toEqual(Array.from({ length: 300 }, (_, index) => 500 + index));
  });
});

describe("lists", () => {
  it("go when they are too old to be served, and the oldest when they are too many", async () => {
    for (let number = 0; number < 8; number++)
      await catalog.keepListing(repository, `${number}`, { body: "[]", checkedAt: start + number * 200 });
    await sweep(start + 1400);
    expect(await lists("0", "1", "2", "3", "4", "5", "6", "7")).toEqual(["3", "4", "5", "6", "7"]);
  });

  it("go when they are too long together, counted as they change", async () => {
    await keep("a", 400, start);
    await keep("b", 400, start + 1);
    await keep("a", 500, start + 2);
    await sweep(start + 3);
    expect(await lists("a", "b")).toEqual(["a", "b"]);
    await keep("c", 300, start + 4);
    await sweep(start + 5);
    expect(await lists("a", "b", "c")).toEqual(["a", "c"]);
    await keep("c", 1200, start + 6);
    await sweep(start + 7);
    expect(await lists("a", "b", "c")).toEqual([]);
    await keep("d", 1000, start + 8);
    await sweep(start + 9);
    expect(await lists("d")).toEqual(["d"]);
  });
});
