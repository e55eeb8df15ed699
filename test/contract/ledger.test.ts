import { describe } from "vitest";
import { SqliteLedger } from "../../src/store/sqlite/ledger.ts";
import { FakeLedger } from "../support/fakeLedger.ts";
import { ledgerContract } from "./ledger.contract.ts";
import { SqliteFile } from "../../src/store/sqlite/file.ts";
import { stateSchema } from "../../src/store/sqlite/stateSchema.ts";

describe("SqliteLedger", () => {
  ledgerContract(() => new SqliteLedger(SqliteFile.inMemory(stateSchema)));
});

describe("FakeLedger", () => {
  ledgerContract(() => new FakeLedger());
});
