import { describe, expect, it } from "vitest";
import { ociIndex, ociManifest } from "../../src/oci/descriptor.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { SqliteCatalog } from "../../src/store/sqlite/catalog.ts";
import { openDatabase, SqliteFile } from "../../src/store/sqlite/database.ts";
import { SqliteInventory } from "../../src/store/sqlite/inventory.ts";
import { testStore } from "../support/testStore.ts";
import { inventoryContract } from "./inventory.contract.ts";
import { catalogSchema } from "../../src/store/sqlite/schema.ts";

describe("what openStore gives", () => {
  inventoryContract((now) => testStore({ now }));
});

// On a machine that is fast enough, and on one on which every row takes too long.
describe.each([Infinity, 0])("SqliteInventory in steps of at most %d ms", (sliceMs) => {
  inventoryContract(async (now) => {
    const database = openDatabase(":memory:", catalogSchema);
    return {
      catalog: new SqliteCatalog(new SqliteFile(database), now),
      inventory: new SqliteInventory(new SqliteFile(database), sliceMs),
    };
  });
});

it("lets other work run while it looks up what a large index has", async () => {
  const database = openDatabase(":memory:", catalogSchema);
  const catalog = new SqliteCatalog(new SqliteFile(database));
  const inventory = new SqliteInventory(new SqliteFile(database), 0);
  const repository = { upstream: "docker.io", name: "library/nginx" as never };
  const [index = digestOf(Buffer.alloc(0)), ...children] = ["index", "one", "other"].map((text) =>
    digestOf(Buffer.from(text)),
  );
  await catalog.holdManifest(repository, { digest: index, mediaType: ociIndex, size: 1 }, children);
  for (const digest of children)
    await catalog.holdManifest(repository, { digest, mediaType: ociManifest, size: 1 }, []);
  for (const look of [() => inventory.parts(repository, index), () => inventory.contents(index)]) {
    let turns = 0;
    setImmediate(() => (turns += 1));
    expect((await look()).length).toBeGreaterThan(1);
    expect(turns).toBe(1);
  }
});
