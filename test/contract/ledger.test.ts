import { describe } from "vitest";
import { FakeLedger } from "../support/fakeLedger.ts";
import { testStore } from "../support/testStore.ts";
import { ledgerContract } from "./ledger.contract.ts";

describe("what openStore gives", () => {
  ledgerContract(async () => (await testStore()).ledger);
});

describe("FakeLedger", () => {
  ledgerContract(async () => new FakeLedger());
});
