import { expect, test } from "vitest";
import { parseDuration, parseShare, parseSize } from "../../../src/config/units.ts";

test.each([
  ["250ms", 250],
  ["0s", 0],
  ["5m", 300_000],
  ["1.5h", 5_400_000],
  ["30d", 2_592_000_000],
])("the duration %s is %d ms", (text, milliseconds) => {
  expect(parseDuration(text)).toBe(milliseconds);
});

test.each([
  ["0B", 0],
  ["500MB", 500_000_000],
  ["50GiB", 53_687_091_200],
  ["1.5KiB", 1536],
])("the size %s is %d bytes", (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each([
  ["10%", 0.1],
  ["10 %", 0.1],
  ["55%", 0.55],
  ["100%", 1],
])("the share %s is %d", (text, fraction) => {
  expect(parseShare(text)).toBe(fraction);
});

test.each(["", "5", "5 minutes", "m", "-5m", "5M", "1e3s", " 5m", "99999999999999999d"])(
  "%j is no duration",
  (text) => {
    expect(parseDuration(text)).toBeUndefined();
  },
);

test.each(["", "50", "50Gi", "50gib", "-1GB", "99999999999TiB"])("%j is no size", (text) => {
  expect(parseSize(text)).toBeUndefined();
});

test.each(["", "10", "101%", "-1%", "0.1"])("%j is no share", (text) => {
  expect(parseShare(text)).toBeUndefined();
});
