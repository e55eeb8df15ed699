import { describe } from "vitest";
import { SqliteCatalog } from "../../src/store/catalog.ts";
import { openDatabase } from "../../src/store/database.ts";
import { SqliteInventory } from "../../src/store/inventory.ts";
import { inventoryContract } from "./inventory.contract.ts";

// On a machine that is fast enough, and on one on which every row takes too long.
describe.each([Infinity, 0])("SqliteInventory in steps of at most %d ms", (sliceMs) => {
  inventoryContract((now) => {
    const database = openDatabase(":memory:");
    return { catalog: new SqliteCatalog(database, now), inventory: new SqliteInventory(database, sliceMs) };
  });
});
