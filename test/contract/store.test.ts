/** The contracts of all interfaces over an open store of which each call yields to the event loop first, and may fail. */
import { describe, expect, it } from "vitest";
import { StoreUnavailableError } from "../../src/store/error.ts";
import type { Store } from "../../src/store/open.ts";
import { failingNowAndThen, slowStore } from "../support/slowStore.ts";
import { testStore } from "../support/testStore.ts";
import { blobsContract } from "./blobs.contract.ts";
import { catalogContract } from "./catalog.contract.ts";
import { inventoryContract } from "./inventory.contract.ts";
import { ledgerContract } from "./ledger.contract.ts";
import { stateContract } from "./state.contract.ts";
import { surveyContract } from "./survey.contract.ts";

const slow = async (now?: () => number): Promise<Store> =>
  slowStore(await testStore({ ...(now && { now }) }));

describe("the State that openStore gives", () => {
  stateContract(async () => (await testStore()).state);
});

describe("a store that yields", () => {
  describe("Blobs", () => {
    blobsContract(async () => (await slow()).blobs);
  });
  describe("Catalog", () => {
    catalogContract(async () => (await slow()).catalog);
  });
  describe("Inventory", () => {
    inventoryContract((now) => slow(now));
  });
  describe("Survey", () => {
    surveyContract(() => slow());
  });
  describe("State", () => {
    stateContract(async () => (await slow()).state);
  });
  describe("Ledger", () => {
    ledgerContract(async () => (await slow()).ledger);
  });
});

it("fails by one kind of error where it is made to fail, and goes on", async () => {
  const { catalog } = slowStore(await testStore(), failingNowAndThen(7, 0.5));
  const calls = Array.from({ length: 100 }, () => catalog.blobAnywhere("sha256:x" as never));
  const ends = await Promise.allSettled(calls);
  const failed = ends.filter((end) => end.status === "rejected");
  expect(failed.length).toBeGreaterThan(20);
  expect(failed.length).toBeLessThan(80);
  expect(failed.every(({ reason }) => reason instanceof StoreUnavailableError)).toBe(true);
});
