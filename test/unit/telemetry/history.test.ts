/** What the page plots: sums by time, of the last day and no more. */
import { expect, test } from "vitest";
import { Failures } from "../../../src/telemetry/failures.ts";
import { History, sliceMs } from "../../../src/telemetry/history.ts";

const noon = Date.parse("2026-11-22T12:00:00Z");
const hour = 60 * 60 * 1000;
const day = 24 * hour;

function historyAt(start: number) {
  let now = start;
  return {
    history: new History(() => now),
    pass: (ms: number) => {
      now += ms;
    },
  };
}

test("sums answers and saved bytes over spans, the last of which is still running", () => {
  const { history, pass } = historyAt(noon);
  expect(history.since).toBeUndefined();
  history.count("miss", 0);
  history.count("hit", 100);
  pass(sliceMs);
  history.count("hit", 50);
  history.count("error", 0);
  expect(history.since).toBe(noon);
  expect(history.spans(sliceMs, 3)).toEqual([
    { at: noon - sliceMs, hit: 0, join: 0, stale: 0, miss: 0, error: 0, savedBytes: 0 },
    { at: noon, hit: 1, join: 0, stale: 0, miss: 1, error: 0, savedBytes: 100 },
    { at: noon + sliceMs, hit: 1, join: 0, stale: 0, miss: 0, error: 1, savedBytes: 50 },
  ]);
  expect(history.spans(60_000, 1)).toMatchObject([{ at: noon, hit: 2, savedBytes: 150 }]);
  expect(history.total(hour)).toMatchObject({ hit: 2, miss: 1, error: 1, savedBytes: 150 });
});

test("forgets what is older than a day, whether or not something came in its place", () => {
  const { history, pass } = historyAt(noon);
  history.count("hit", 1);
  pass(day - sliceMs);
  expect(history.total(day)).toMatchObject({ hit: 1 });
  pass(sliceMs);
  expect(history.total(day)).toMatchObject({ hit: 0, savedBytes: 0 });
  history.count("miss", 0);
  expect(history.total(day)).toMatchObject({ hit: 0, miss: 1, savedBytes: 0 });
});

test("does not mix times when the clock is set back", () => {
  const { history, pass } = historyAt(noon);
  history.count("hit", 1);
  pass(-hour);
  history.count("stale", 1);
  expect(history.total(sliceMs)).toMatchObject({ hit: 0, stale: 1 });
  expect(history.spans(hour, 1)).toMatchObject([{ at: noon - hour, hit: 0, stale: 1 }]);
});

test("failures: the newest first, the same again counted, the oldest let go", () => {
  let now = noon;
  const failures = new Failures(() => (now += 1000));
  const refused = { client: "node-1", image: "docker.io/library/a:1", status: 429, reason: "none left" };
  failures.note(refused);
  failures.note({ ...refused, image: "docker.io/library/b:1", status: 404, reason: "absent" });
  failures.note({ ...refused, client: "node-2", reason: "none left still" });
  expect(failures.last).toMatchObject([
    {
      image: "docker.io/library/a:1",
      count: 2,
      client: "node-2",
      reason: "none left still",
      at: noon + 3000,
    },
    { image: "docker.io/library/b:1", count: 1, status: 404 },
  ]);
  for (let index = 0; index < 100; index += 1)
    failures.note({ ...refused, image: `docker.io/library/c${index}:1` });
  expect(failures.last).toHaveLength(20);
  expect(failures.last[0]?.image).toBe("docker.io/library/c99:1");
});
