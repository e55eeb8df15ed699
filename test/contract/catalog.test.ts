import { describe } from "vitest";
import { FakeCatalog } from "../support/fakeCatalog.ts";
import { testStore } from "../support/testStore.ts";
import { catalogContract } from "./catalog.contract.ts";

describe("what openStore gives", () => {
  catalogContract(async () => (await testStore()).catalog);
});

describe("FakeCatalog", () => {
  catalogContract(async () => new FakeCatalog());
});
