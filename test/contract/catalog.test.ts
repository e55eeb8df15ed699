import { describe } from "vitest";
import { SqliteCatalog } from "../../src/store/sqlite/catalog.ts";
import { openDatabase } from "../../src/store/sqlite/database.ts";
import { FakeCatalog } from "../support/fakeCatalog.ts";
import { catalogContract } from "./catalog.contract.ts";

describe("SqliteCatalog", () => {
  catalogContract(() => new SqliteCatalog(openDatabase(":memory:")));
});

describe("FakeCatalog", () => {
  catalogContract(() => new FakeCatalog());
});
