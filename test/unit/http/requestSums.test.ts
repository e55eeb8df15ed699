/** Answers that are counted together: nothing of them is lost, and those that differ stay apart. */
import { expect, it } from "vitest";
import { type AnsweredRequests, inTurns } from "../../../src/http/requestSums.ts";

const hit = { upstream: "docker.io", kind: "manifest", outcome: "hit", seconds: [0.001], bytes: 10 } as const;

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

it("tells once of what is alike in a turn, with all of it", async () => {
  const told: AnsweredRequests[] = [];
  const sums = inTurns({ add: (answers) => void told.push(answers) });
  sums.add({ ...hit, savedPulls: 1, savedBytes: 9 });
  sums.add({ ...hit, seconds: [0.002], savedPulls: 1, savedBytes: 9 });
  sums.add({ ...hit, upstream: "ghcr.io" });
  sums.add({ ...hit, outcome: "error" });
  await turn();
  const none = { savedPulls: 0, savedBytes: 0 };
  expect(told).toEqual([
    { ...hit, seconds: [0.001, 0.002], bytes: 20, savedPulls: 2, savedBytes: 18 },
    { ...hit, upstream: "ghcr.io", ...none },
    { ...hit, outcome: "error", ...none },
  ]);
});

it("tells of each turn's answers, and says nothing when there were none", async () => {
  const told: AnsweredRequests[] = [];
  const sums = inTurns({ add: (answers) => void told.push(answers) });
  sums.add(hit);
  await turn();
  await turn();
  sums.add(hit);
  await turn();
  expect(told.map(({ seconds }) => seconds)).toEqual([[0.001], [0.001]]);
});
