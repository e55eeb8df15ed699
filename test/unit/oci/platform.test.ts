/** Platforms: what people write, and what a node of one takes of an index. */
import { expect, test } from "vitest";
import { digestOf } from "../../../src/oci/digest.ts";
import type { Descriptor } from "../../../src/oci/descriptor.ts";
import { childrenFor, formatPlatform, parsePlatform } from "../../../src/oci/platform.ts";

function index(...platforms: readonly string[]): Descriptor[] {
  return platforms.map((text, number) => {
    const platform = parsePlatform(text);
    const digest = digestOf(Buffer.from(`${number}`));
    return { mediaType: "application/json", digest, size: 1, ...(platform && { platform }) };
  });
}

function taken(wanted: string, ...platforms: readonly string[]): string[] {
  const platform = parsePlatform(wanted);
  if (!platform) throw new Error("no platform");
  return childrenFor(platform, index(...platforms)).map((child) =>
    child.platform ? formatPlatform(child.platform) : "any",
  );
}

test.each(["linux/amd64", "linux/arm/v7", "windows/amd64", "linux/riscv64"])(
  "%s is written as it is read",
  (text) => {
    const platform = parsePlatform(text);
    expect(platform && formatPlatform(platform)).toBe(text);
  },
);

test.each([
  "",
  "linux",
  "linux/",
  "/amd64",
  "linux/amd64/v1/x",
  "Linux/amd64",
  "linux amd64",
  "linux/amd64 ",
])("%j is no platform", (text) => {
  expect(parsePlatform(text)).toBeUndefined();
});

test.each([
  ["linux/arm64", ["linux/amd64", "linux/arm64/v8"], ["linux/arm64/v8"]],
  ["linux/arm64/v8", ["linux/arm64"], ["linux/arm64"]],
  ["linux/amd64", ["linux/amd64/v3", "linux/amd64"], ["linux/amd64"]],
  ["linux/amd64/v4", ["linux/amd64/v3", "linux/amd64"], ["linux/amd64/v3"]],
  ["linux/arm", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], ["linux/arm/v7"]],
  ["linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], ["linux/arm/v5"]],
  ["linux/arm/v5", ["linux/arm/v7"], []],
  ["linux/riscv64", ["linux/riscv64", "unknown/unknown"], ["linux/riscv64"]],
  ["windows/amd64", ["windows/amd64", "windows/amd64", "linux/amd64"], ["windows/amd64", "windows/amd64"]],
  ["linux/amd64", ["none", "linux/arm64"], ["any"]],
] as const)("a node of %s takes of %j", (wanted, there, expected) => {
  expect(taken(wanted, ...there)).toEqual(expected);
});
