/** Requests that are counted together: nothing of them is lost, and those that differ stay apart. */
import { expect, it } from "vitest";
import { inTurns, type EndedRequests } from "../../../src/http/requestRecord.ts";

const hit = { upstream: "docker.io", kind: "manifest", outcome: "hit", seconds: [0.001], bytes: 10 } as const;

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

it("passes on the requests of a turn that are alike as one sum", async () => {
  const taken: EndedRequests[] = [];
  const sums = inTurns({ add: (requests) => void taken.push(requests) });
  sums.add({ ...hit, savedPulls: 1, savedBytes: 9 });
  sums.add({ ...hit, seconds: [0.002], savedPulls: 1, savedBytes: 9 });
  sums.add({ ...hit, upstream: "ghcr.io" });
  sums.add({ ...hit, outcome: "error" });
  await turn();
  const none = { savedPulls: 0, savedBytes: 0 };
  expect(taken).toEqual([
    { ...hit, seconds: [0.001, 0.002], bytes: 20, savedPulls: 2, savedBytes: 18 },
    { ...hit, upstream: "ghcr.io", ...none },
    { ...hit, outcome: "error", ...none },
  ]);
});

it("passes on what each turn brought, and nothing when that is nothing", async () => {
  const taken: EndedRequests[] = [];
  const sums = inTurns({ add: (requests) => void taken.push(requests) });
  sums.add(hit);
  await turn();
  await turn();
  sums.add(hit);
  await turn();
  expect(taken.map(({ seconds }) => seconds)).toEqual([[0.001], [0.001]]);
});
