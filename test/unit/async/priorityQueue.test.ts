import { expect, test } from "vitest";
import { PriorityQueue } from "../../../src/async/concurrency.ts";

test("who is not wanted any more does not get a turn", async () => {
  const line = new PriorityQueue({ maxConcurrent: 1, minTime: 0, now: Date.now }, () => 10);
  await expect(
    line.turn(1, { payer: "node-1" }, AbortSignal.abort(new Error("gone")), () => {}),
  ).rejects.toThrow("gone");
  expect(line.waiting).toBe(0);
  const end = await line.turn(1, { payer: "node-1" }, new AbortController().signal, () => {});
  end();
});

test("runs at once what need not wait, and no more than there are tokens for", async () => {
  let tokens = 10;
  const line = new PriorityQueue({ maxConcurrent: 3, minTime: 0, now: Date.now }, () => tokens);
  const { signal } = new AbortController();
  const began: number[] = [];
  const turns = [1, 2, 3, 4, 5].map((number) =>
    line.turn(1, { payer: "node-1" }, signal, () => {
      tokens -= 1;
      began.push(number);
    }),
  );
  expect(began).toEqual([1, 2, 3]);
  expect(line.waiting).toBe(2);
  (await turns[0])?.();
  await turns[3];
  expect(began).toEqual([1, 2, 3, 4]);
  // Nothing overtakes those that are queued, whatever comes free.
  const late = line.turn(1, { payer: "node-1" }, signal, () => void began.push(6));
  (await turns[1])?.();
  (await turns[2])?.();
  await late;
  expect(began).toEqual([1, 2, 3, 4, 5, 6]);
});
