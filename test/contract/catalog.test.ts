import { describe } from "vitest";
import { SqliteCatalog } from "../../src/store/sqlite/catalog.ts";
import { openDatabase } from "../../src/store/sqlite/database.ts";
import { FakeCatalog } from "../support/fakeCatalog.ts";
import { catalogContract } from "./catalog.contract.ts";
import { SqliteFile } from "../../src/store/sqlite/file.ts";
import { catalogSchema } from "../../src/store/sqlite/schema.ts";

describe("SqliteCatalog", () => {
  catalogContract(() => new SqliteCatalog(new SqliteFile(openDatabase(":memory:", catalogSchema))));
});

describe("FakeCatalog", () => {
  catalogContract(() => new FakeCatalog());
});
