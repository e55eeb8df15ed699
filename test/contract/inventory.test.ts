import { describe } from "vitest";
import { SqliteCatalog } from "../../src/store/catalog.ts";
import { openDatabase } from "../../src/store/database.ts";
import { SqliteInventory } from "../../src/store/inventory.ts";
import { inventoryContract } from "./inventory.contract.ts";

describe("SqliteInventory", () => {
  inventoryContract((now) => {
    const database = openDatabase(":memory:");
    return { catalog: new SqliteCatalog(database, now), inventory: new SqliteInventory(database) };
  });
});
