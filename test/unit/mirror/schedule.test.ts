/** Cron expressions over a clock that tests move: each time once, in its own time zone, whatever the clock does. */
import { expect, test } from "vitest";
import { Schedule, type Planned } from "../../../src/mirror/schedule.ts";

function setUp(start: string, ...planned: readonly Omit<Planned, "run">[]) {
  let now = Date.parse(start);
  let look: (() => void) | undefined;
  const runs: string[] = [];
  const schedule = new Schedule(
    planned.map((plan) => ({
      ...plan,
      run: () => void runs.push(`${plan.timeZone} ${new Date(now).toISOString()}`),
    })),
    {
      now: () => now,
      every: (given) => {
        look = given;
        return () => {
          look = undefined;
        };
      },
    },
  );
  return {
    runs,
    schedule,
    at: (time: string) => {
      now = Date.parse(time);
      look?.();
    },
  };
}

const nightly = { expression: "30 3 * * *", timeZone: "UTC" };

test("nothing is done before its time, and at its time once", () => {
  const { at, runs, schedule } = setUp("2026-03-04T03:00:00Z", nightly);
  expect(schedule.next).toBe(Date.parse("2026-03-04T03:30:00Z"));
  at("2026-03-04T03:29:59Z");
  expect(runs).toEqual([]);
  for (const second of ["02", "07", "12"]) at(`2026-03-04T03:30:${second}Z`);
  expect(runs).toEqual(["UTC 2026-03-04T03:30:02.000Z"]);
  at("2026-03-05T03:30:00Z");
  expect(runs).toHaveLength(2);
});

test("each goes by its own time zone, over the change to summer time too", () => {
  const berlin = { expression: "30 3 * * *", timeZone: "Europe/Berlin" };
  const { at, runs } = setUp("2026-03-28T00:00:00Z", nightly, berlin);
  at("2026-03-28T02:30:00Z");
  expect(runs).toEqual(["Europe/Berlin 2026-03-28T02:30:00.000Z"]);
  at("2026-03-28T03:30:00Z");
  // The clocks went forward in the night.
  at("2026-03-29T01:30:00Z");
  expect(runs.slice(1)).toEqual(["UTC 2026-03-28T03:30:00.000Z", "Europe/Berlin 2026-03-29T01:30:00.000Z"]);
});

test("what was missed while the machine slept is done once", () => {
  const { at, runs } = setUp("2026-03-04T00:00:00Z", nightly);
  at("2026-03-09T12:00:00Z");
  at("2026-03-09T12:00:05Z");
  expect(runs).toEqual(["UTC 2026-03-09T12:00:00.000Z"]);
});

test("a clock that was a year ahead and is set right does not stop it for a year", () => {
  const { at, runs, schedule } = setUp("2027-03-04T00:00:00Z", nightly);
  at("2026-03-04T00:00:00Z");
  expect(schedule.next).toBe(Date.parse("2026-03-04T03:30:00Z"));
  at("2026-03-04T03:30:00Z");
  expect(runs).toHaveLength(1);
});

test("closed, it does nothing any more", () => {
  const { at, runs, schedule } = setUp("2026-03-04T00:00:00Z", nightly);
  schedule.close();
  at("2026-03-05T00:00:00Z");
  expect(runs).toEqual([]);
});
