import fc from "fast-check";
import { expect, test } from "vitest";
import { findRetryAfter, retryAfterIn } from "../../../src/upstream/gate.ts";
import { leastTime } from "../../support/speed.ts";

const now = Date.parse("2026-11-22T12:00:00Z");

test.each([
  ["60", 60],
  [" 3600 ", 3600],
  ["0", 1],
  ["1.5", 2],
  ["99999999999", 7 * 24 * 3600],
  ["Sun, 22 Nov 2026 12:01:30 GMT", 90],
  ["Sun, 22 Nov 2026 11:00:00 GMT", 1],
  ["880.092µs", 1],
  ["2000000µs", 2],
  ["2000000μs", 2],
  ["2000000Âµs", 2],
  ["2000000Î¼s", 2],
  ["12us", 1],
  ["250ms", 1],
  ["2.5s", 3],
  ["1m30s", 90],
  ["1h", 3600],
  ["", undefined],
  ["-1", undefined],
  ["soon", undefined],
  ["5 apples", undefined],
  ["Sun, 99 Foo", undefined],
])("Retry-After: %j is %j seconds", (value, seconds) => {
  expect(retryAfterIn({ "retry-after": value }, now)).toBe(seconds);
});

test("of several headers the first counts, and none is none", () => {
  expect(retryAfterIn({ "retry-after": ["5", "6"] }, now)).toBe(5);
  expect(retryAfterIn({ "retry-after": [] }, now)).toBeUndefined();
  expect(retryAfterIn({}, now)).toBeUndefined();
});

test("ghcr.io's text is found in its error body", () => {
  const body = `{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 2.092s, allowed: 44000/minute"}]}`;
  expect(findRetryAfter(body, now)).toBe(3);
  expect(findRetryAfter("nothing of the kind", now)).toBeUndefined();
});

test("whatever comes, it is whole seconds between 1 and a week, or nothing", () => {
  const hostile = fc
    .array(fc.constantFrom("9", ".", "s", "m", "µ", "h", "-", "e", "Retry-After:", " "))
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(fc.oneof(fc.string(), hostile), (text) => {
      for (const seconds of [retryAfterIn({ "retry-after": text }, now), findRetryAfter(text, now)]) {
        if (seconds === undefined) continue;
        expect(Number.isInteger(seconds) && seconds >= 1 && seconds <= 7 * 24 * 3600).toBe(true);
      }
    }),
  );
  const long = ["retry-after:".repeat(100_000), "9".repeat(1_000_000)] as const;
  expect(leastTime(() => findRetryAfter(long[0], now))).toBeLessThan(500);
  expect(leastTime(() => retryAfterIn({ "retry-after": long[1] }, now))).toBeLessThan(500);
});
