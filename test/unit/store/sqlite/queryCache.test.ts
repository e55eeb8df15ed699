/** The catalog answers from memory only what SQLite would say too. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type Database from "better-sqlite3";
import { beforeEach, expect, it } from "vitest";
import { ociManifest } from "../../../../src/oci/descriptor.ts";
import { digestOf } from "../../../../src/oci/digest.ts";
import { parseTag, type Repository, type RepositoryName, type Tag } from "../../../../src/oci/reference.ts";
import { SqliteCatalog, QueryCache } from "../../../../src/store/sqlite/catalog.ts";
import { openBeside, openDatabase, SqliteFile } from "../../../../src/store/sqlite/database.ts";
import { SqliteInventory } from "../../../../src/store/sqlite/inventory.ts";
import { catalogSchema } from "../../../../src/store/sqlite/schema.ts";

const place: Repository = { upstream: "docker.io", name: "library/one" as RepositoryName };
const tag = parseTag("1") as Tag;
const manifest = { digest: digestOf(Buffer.from("one")), mediaType: ociManifest, size: 100 };
const other = { digest: digestOf(Buffer.from("other")), mediaType: ociManifest, size: 200 };

let database: Database.Database;
let catalog: SqliteCatalog;

beforeEach(async () => {
  database = openDatabase(
    join(await mkdtemp(join(tmpdir(), "hubcap-cache-")), "catalog.sqlite"),
    catalogSchema,
  );
  catalog = new SqliteCatalog(new SqliteFile(database), () => 1);
  await catalog.holdManifest(place, manifest, []);
  await catalog.resolve(place, tag, manifest, 1);
  // Asked, so that what follows could come from memory.
  await catalog.manifest(place, manifest.digest);
  await catalog.tag(place, tag);
});

it("does not answer for what was forgotten, evicted or discarded", async () => {
  await catalog.forget(manifest.digest);
  expect(await catalog.manifest(place, manifest.digest)).toBeUndefined();
  expect((await catalog.tag(place, tag))?.held).toBeUndefined();

  await catalog.holdManifest(place, manifest, []);
  await catalog.resolve(place, tag, manifest, 2);
  expect(await catalog.manifest(place, manifest.digest)).toEqual(manifest);
  expect((await catalog.tag(place, tag))?.checkedAt).toBe(2);
  const inventory = new SqliteInventory(new SqliteFile(database));
  while (!(await inventory.drop(place, manifest.digest)));
  expect(await catalog.manifest(place, manifest.digest)).toBeUndefined();
  expect(await catalog.tag(place, tag)).toBeUndefined();
});

it("knows at once that a tag has moved, was confirmed, or is gone", async () => {
  await catalog.resolve(place, tag, other, 3);
  expect(await catalog.tag(place, tag)).toMatchObject({ descriptor: other, held: manifest, checkedAt: 3 });
  await catalog.holdManifest(place, other, []);
  expect((await catalog.tag(place, tag))?.held).toEqual(other);
  await catalog.resolve(place, tag, other, 4);
  expect((await catalog.tag(place, tag))?.checkedAt).toBe(4);
  await catalog.forgetTagsOf(place, other.digest);
  expect(await catalog.tag(place, tag)).toBeUndefined();
});

it("knows of what anybody writes over the same connection", async () => {
  database.exec("DELETE FROM held");
  expect(await catalog.manifest(place, manifest.digest)).toBeUndefined();
});

it("knows over a connection that only reads, from the next turn on, what another one commits", async () => {
  const reader = new SqliteCatalog(new SqliteFile(openBeside(database.name, catalogSchema)));
  expect(await reader.manifest(place, manifest.digest)).toEqual(manifest);
  await catalog.forget(manifest.digest);
  await new Promise(setImmediate);
  expect(await reader.manifest(place, manifest.digest)).toBeUndefined();
});

it("keeps a bounded number of answers, and asks for each only once while nothing changes", () => {
  const cache = new QueryCache(database);
  let looks = 0;
  const look = (): object => ({ looks: (looks += 1) });
  for (let time = 0; time < 3; time++) cache.answer("a question", look);
  expect(looks).toBe(1);
  for (let number = 0; number < 100_000; number++) cache.answer(`question ${number}`, () => ({ number }));
  cache.answer("a question", look);
  expect(looks).toBe(2);
});
