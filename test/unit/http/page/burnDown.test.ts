/** The curve that the page draws of a window: where it has been, and where it goes. */
import { expect, test } from "vitest";
import { burnDown, courseStep } from "../../../../src/http/page/burnDown.ts";
import type { Snapshot } from "../../../../src/quota/snapshot.ts";
import { snapshotWith } from "./views.ts";

const now = Date.parse("2026-11-22T12:00:00Z");
const hour = 60 * 60 * 1000;
const step = courseStep(6 * hour);

function curveOf(course: readonly (readonly [number, number])[], more: Partial<Snapshot>) {
  const slices = course.map(([at, spent]) => ({ at: Math.floor((now + at) / step) * step, spent }));
  const curve = burnDown(
    snapshotWith({ limit: 100, windowSeconds: 21_600, reserve: 10, ...more }),
    slices,
    now,
  );
  if (!curve) throw new Error("nothing to draw");
  /** The value of a line at a time from now. */
  const at = (line: "left" | "expected", ms: number): number | null | undefined =>
    curve[line][curve.times.findIndex((time) => time >= (now + ms) / 1000)];
  return { curve, at };
}

test("goes down with what was spent, and up again as that leaves the window", () => {
  const course = [
    [-7 * hour, 20],
    [-2 * hour, 30],
    [-hour, 5],
  ] as const;
  const { at, curve } = curveOf(course, { remaining: 65, burnPerHour: 0 });
  expect(at("left", -5 * hour)).toBe(80);
  expect(at("left", -1.5 * hour)).toBe(50);
  expect(at("left", -0.5 * hour)).toBe(65);
  expect(at("left", 0)).toBe(65);
  expect(curve).toMatchObject({ limit: 100, reserve: 10, now: now / 1000 });
});

test("ends at what is left, which others may have made less", () => {
  const { at } = curveOf([[-hour, 10]], { remaining: 40, burnPerHour: 0 });
  expect(at("left", -0.5 * hour)).toBe(90);
  expect(at("left", 0)).toBe(40);
});

test("expects the last hour to go on", () => {
  const { at } = curveOf([[-0.5 * hour, 40]], { remaining: 60, burnPerHour: 40 });
  expect(at("expected", -hour)).toBeNull();
  expect(at("expected", 0)).toBe(60);
  expect(at("expected", hour)).toBe(20);
  expect(at("expected", 2 * hour)).toBe(0);
  expect(at("left", hour)).toBeNull();
});

test("when nothing is left, shows what comes back", () => {
  const { at } = curveOf(
    [
      [-5 * hour, 60],
      [-0.5 * hour, 40],
    ],
    { remaining: 0, burnPerHour: 40 },
  );
  expect(at("expected", 0.5 * hour)).toBe(0);
  expect(at("expected", 1.5 * hour)).toBe(60);
  expect(at("expected", 2.9 * hour)).toBe(60);
});

test("is not drawn without a limit", () => {
  expect(burnDown(snapshotWith({ limit: null, remaining: null }), [], now)).toBeUndefined();
});
