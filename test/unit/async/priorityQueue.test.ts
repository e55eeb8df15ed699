import { expect, onTestFinished, test, vi } from "vitest";
import { systemClock } from "../../../src/async/clock.ts";
import { Parties, PriorityQueue, type PriorityQueueOptions } from "../../../src/async/concurrency.ts";
import { ManualClock } from "../../support/manualClock.ts";

const { signal } = new AbortController();
const node = { payer: "node-1" };

function open(options: Partial<PriorityQueueOptions> = {}): PriorityQueue {
  return new PriorityQueue({
    most: 3,
    minTime: 0,
    mayBegin: () => true,
    clock: new ManualClock(),
    ...options,
  });
}

/** Turns as they begin, by name; `end` ends the one that began first. */
function recorder(queue: PriorityQueue) {
  const began: string[] = [];
  const ends: (() => void)[] = [];
  return {
    began,
    turn: (name: string, { address = "", priority = 0 } = {}) => {
      const turn = queue.turn(priority, { address, payer: name }, signal, () => void began.push(name));
      void turn.then((end) => ends.push(end));
    },
    end: async () => {
      await new Promise(setImmediate);
      ends.shift()?.();
    },
  };
}

test("who is not wanted any more does not get a turn", async () => {
  const queue = open({ most: 1 });
  await expect(queue.turn(1, node, AbortSignal.abort(new Error("gone")), () => {})).rejects.toThrow("gone");
  const end = await queue.turn(1, node, signal, () => {});
  const leaving = new AbortController();
  const left = queue.turn(1, node, leaving.signal, () => expect.unreachable());
  expect(queue.waiting).toBe(1);
  leaving.abort(new Error("left"));
  await expect(left).rejects.toThrow("left");
  expect(queue.waiting).toBe(0);
  end();
});

test("runs at once what need not wait, no more than there may be, and the most urgent first", async () => {
  let tokens = 10;
  const queue = open({ mayBegin: () => tokens > 0 });
  const { began, turn, end } = recorder(queue);
  for (const [name, priority] of [
    ["1", 0],
    ["2", 0],
    ["3", 0],
    ["4", 2],
    ["5", 1],
    ["6", 0],
  ] as const)
    turn(name, { priority });
  expect(began).toEqual(["1", "2", "3"]);
  expect(queue.waiting).toBe(3);
  await end();
  expect(began.slice(3)).toEqual(["6"]);
  await end();
  tokens = 0;
  await end();
  expect(began.slice(3)).toEqual(["6", "5"]);
  tokens = 1;
  queue.advance();
  expect(began.slice(3)).toEqual(["6", "5", "4"]);
});

test("turns are as far apart as they must be, also when the wall clock is set back", async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const queue = open({ most: 4, minTime: 1000, clock: systemClock });
  const { began, turn } = recorder(queue);
  expect(queue.waitMs).toBe(0);
  for (const name of ["1", "2", "3"]) turn(name);
  await vi.advanceTimersByTimeAsync(10);
  expect(began).toEqual(["1"]);
  expect(queue.waitMs).toBeGreaterThan(2900);
  await vi.advanceTimersByTimeAsync(980);
  expect(began).toEqual(["1"]);
  await vi.advanceTimersByTimeAsync(20);
  expect(began).toEqual(["1", "2"]);
  await vi.advanceTimersByTimeAsync(1000);
  expect(began).toEqual(["1", "2", "3"]);
  vi.setSystemTime(Date.now() - 3_600_000);
  turn("4");
  await vi.advanceTimersByTimeAsync(1000);
  expect(began).toEqual(["1", "2", "3", "4"]);
});

test("the most urgent begins next, and time apart is not lost on what may not begin", async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  let tokens = 1;
  const queue = open({ minTime: 1000, clock: systemClock, mayBegin: () => tokens > 0 });
  const { began, turn } = recorder(queue);
  turn("pull");
  turn("warm", { priority: 3 });
  await vi.advanceTimersByTimeAsync(10);
  tokens = 0;
  turn("pull, later");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(began).toEqual(["pull"]);
  tokens = 1;
  queue.advance();
  await vi.advanceTimersByTimeAsync(10);
  expect(began).toEqual(["pull", "pull, later"]);
  await vi.advanceTimersByTimeAsync(1000);
  expect(began).toEqual(["pull", "pull, later", "warm"]);
});

test("a turn that fails as it begins holds no place", async () => {
  const queue = open({ most: 1 });
  const failed = queue.turn(0, node, signal, () => {
    throw new Error("not now");
  });
  await expect(failed).rejects.toThrow("not now");
  await queue.turn(0, node, signal, () => {});
});

test("the last third of the places is for addresses that hold few, and who may not begin keeps none of the others waiting", async () => {
  const refused = new Set(["10.0.0.9"]);
  const queue = open({ most: 12, mayBegin: (address) => !refused.has(address) });
  const { began, turn, end } = recorder(queue);
  turn("refused", { address: "10.0.0.9" });
  for (let number = 0; number < 20; number += 1) turn("many", { address: "10.0.0.1" });
  expect(began).toHaveLength(8);
  for (let number = 0; number < 4; number += 1) turn("few", { address: "10.0.0.2" });
  expect(began.slice(8)).toEqual(["few", "few", "few"]);
  turn("own");
  expect(began.slice(11)).toEqual(["own"]);
  for (let number = 0; number < 4; number += 1) await end();
  expect(began.slice(12)).toEqual([]);
  await end();
  // Where both may, they go in turn.
  expect(began.slice(12)).toEqual(["many"]);
  await end();
  expect(began.slice(12)).toEqual(["many", "few"]);
});

test("what waits begins as soon as one of those who have joined may begin, and once", async () => {
  const queue = open({ mayBegin: (address) => address !== "10.0.0.9" });
  const began: (string | undefined)[] = [];
  const joined = new Parties();
  const guesser = { address: "10.0.0.9", payer: "guesser", joined };
  const turn = queue.turn(0, guesser, signal, ({ address }) => void began.push(address));
  const late = new Parties();
  joined.add({ address: "10.0.0.9", payer: "another guesser" });
  joined.add({ address: "10.0.0.9", payer: "with others", joined: late });
  expect(began).toEqual([]);
  late.add({ address: "10.0.0.1", payer: "node-1" });
  joined.add({ address: "10.0.0.2", payer: "node-2" });
  queue.advance();
  expect(began).toEqual(["10.0.0.1"]);
  (await turn)();
  // What it wants next waits with all of them from the start.
  await queue.turn(0, guesser, signal, ({ address }) => void began.push(address));
  expect(began).toHaveLength(2);
  expect(queue.waiting).toBe(0);
});

test("what has left begins for nobody who joins", async () => {
  const queue = open({ mayBegin: (address) => address !== "10.0.0.9" });
  const joined = new Parties();
  const leaving = new AbortController();
  const turn = queue.turn(0, { address: "10.0.0.9", payer: "guesser", joined }, leaving.signal, () =>
    expect.unreachable(),
  );
  leaving.abort(new Error("left"));
  await expect(turn).rejects.toThrow("left");
  joined.add({ address: "10.0.0.1", payer: "node-1" });
  queue.advance();
});
