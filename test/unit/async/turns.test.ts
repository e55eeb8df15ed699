import { expect, test } from "vitest";
import { Turns } from "../../../src/async/concurrency.ts";

function drain(turns: Turns<string>, mayGo?: (address: string) => boolean): string[] {
  return Array.from({ length: 20 }, () => turns.next(mayGo) ?? []).flat();
}

test("addresses are served in turn, then the payers of an address, and each in order", () => {
  const turns = new Turns<string>();
  for (const item of ["a1", "a2", "a3"]) turns.add({ address: "10.0.0.1", payer: "a" }, item);
  for (const item of ["b1", "b2"]) turns.add({ address: "10.0.0.1", payer: "b" }, item);
  for (const item of ["c1", "c2"]) turns.add({ address: "10.0.0.2", payer: "a" }, item);
  expect(drain(turns)).toEqual(["a1", "c1", "b1", "c2", "a2", "b2", "a3"]);
});

test("what has left is not served, and who may not go keeps its place", () => {
  const turns = new Turns<string>();
  const a = { address: "10.0.0.1", payer: "a" };
  turns.add(a, "a1");
  turns.add(a, "a2");
  turns.add({ payer: "own" }, "own");
  turns.remove(a, "a1");
  expect(drain(turns, (address) => address === "")).toEqual(["own"]);
  expect(drain(turns)).toEqual(["a2"]);
});
