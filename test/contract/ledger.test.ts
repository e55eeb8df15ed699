import Database from "better-sqlite3";
import { describe } from "vitest";
import { SqliteLedger } from "../../src/store/sqlite/ledger.ts";
import { FakeLedger } from "../support/fakeLedger.ts";
import { ledgerContract } from "./ledger.contract.ts";

describe("SqliteLedger", () => {
  ledgerContract(() => new SqliteLedger(new Database(":memory:")));
});

describe("FakeLedger", () => {
  ledgerContract(() => new FakeLedger());
});
