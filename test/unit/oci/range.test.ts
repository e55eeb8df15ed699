/** What a Range header comes to. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatContentRange, parseRange, type RangeAsked } from "../../../src/oci/range.ts";

const rows: readonly [header: string | undefined, size: number, expected: RangeAsked][] = [
  [undefined, 10, "whole"],
  ["bytes=0-0", 10, { start: 0, end: 1 }],
  ["bytes=2-5", 10, { start: 2, end: 6 }],
  ["bytes=0-9", 10, { start: 0, end: 10 }],
  ["bytes=0-", 10, { start: 0, end: 10 }],
  ["bytes=9-", 10, { start: 9, end: 10 }],
  ["bytes=5-99999999999999999999", 10, { start: 5, end: 10 }],
  ["bytes=-3", 10, { start: 7, end: 10 }],
  ["bytes=-10", 10, { start: 0, end: 10 }],
  ["bytes=-999999999999999999999", 10, { start: 0, end: 10 }],
  ["BYTES=2-5", 10, { start: 2, end: 6 }],
  // Valid, but nothing is there.
  ["bytes=10-", 10, "unsatisfiable"],
  ["bytes=10-20", 10, "unsatisfiable"],
  ["bytes=99999999999999999999-", 10, "unsatisfiable"],
  ["bytes=99999999999999999998-99999999999999999999", 10, "unsatisfiable"],
  ["bytes=-0", 10, "unsatisfiable"],
  // An empty blob has no ranges.
  ["bytes=0-", 0, "whole"],
  ["bytes=-5", 0, "whole"],
  // Never a 206 with the first of several.
  ["bytes=0-1,4-5", 10, "whole"],
  ["bytes=0-1, 4-5", 10, "whole"],
  ["bytes=0-1,", 10, "whole"],
  // Malformed, or another unit.
  ["bytes=5-2", 10, "whole"],
  ["bytes=20-11", 10, "whole"],
  ["bytes=-", 10, "whole"],
  ["bytes=", 10, "whole"],
  ["bytes", 10, "whole"],
  ["", 10, "whole"],
  ["bytes=a-b", 10, "whole"],
  ["bytes=1.5-3", 10, "whole"],
  ["bytes=0x1-3", 10, "whole"],
  ["bytes=+1-3", 10, "whole"],
  ["bytes=--1", 10, "whole"],
  ["bytes= 1-3", 10, "whole"],
  ["bytes=1-3\n", 10, "whole"],
  ["items=0-1", 10, "whole"],
];

describe("a Range header", () => {
  test.each(rows)("%j of %i bytes is %j", (header, size, expected) => {
    expect(parseRange(header, size)).toEqual(expected);
  });

  const spans = fc
    .record({ start: fc.maxSafeNat(), length: fc.integer({ min: 1 }), after: fc.nat() })
    .map(({ start, length, after }) => ({ start, end: start + length, size: start + length + after }))
    .filter(({ size }) => Number.isSafeInteger(size));

  test("reads back as the span that it was written from", () => {
    fc.assert(
      fc.property(spans, ({ start, end, size }) => {
        expect(parseRange(`bytes=${start}-${end - 1}`, size)).toEqual({ start, end });
        expect(parseRange(`bytes=${start}-`, size)).toEqual({ start, end: size });
        expect(parseRange(`bytes=-${size - start}`, size)).toEqual({ start, end: size });
      }),
    );
  });

  test("never asks for bytes outside of the blob, whatever it says", () => {
    const headers = fc.oneof(fc.string(), fc.stringMatching(/^bytes=[0-9]{0,20}-[0-9]{0,20}$/));
    fc.assert(
      fc.property(headers, fc.maxSafeNat(), (header, size) => {
        const asked = parseRange(header, size);
        if (typeof asked === "string") return;
        expect(asked.start).toBeGreaterThanOrEqual(0);
        expect(asked.end).toBeGreaterThan(asked.start);
        expect(asked.end).toBeLessThanOrEqual(size);
      }),
    );
  });
});

test.each([
  [{ start: 0, end: 1 }, 10, "bytes 0-0/10"],
  [{ start: 7, end: 10 }, 10, "bytes 7-9/10"],
  ["unsatisfiable" as const, 10, "bytes */10"],
])("Content-Range for %j of %i bytes is %j", (asked, size, expected) => {
  expect(formatContentRange(asked, size)).toBe(expected);
});
