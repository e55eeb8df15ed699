import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseChallenges } from "../../../../src/upstream/auth/authority.ts";
import { leastTime } from "../../../support/speed.ts";

const parsed = (header: string | string[]) =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

describe("parseChallenges", () => {
  test.each([
    [
      "quoted, as Docker Hub sends it",
      `Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull"`,
      [
        [
          "bearer",
          {
            realm: "https://auth.docker.io/token",
            service: "registry.docker.io",
            scope: "repository:library/alpine:pull",
          },
        ],
      ],
    ],
    [
      "without quotes",
      "Bearer realm=https://ghcr.io/token,service=ghcr.io",
      [["bearer", { realm: "https://ghcr.io/token", service: "ghcr.io" }]],
    ],
    [
      "several challenges in one header",
      `Negotiate, Bearer realm="https://a/t", service=s, Basic realm="x, y"`,
      [
        ["negotiate", {}],
        ["bearer", { realm: "https://a/t", service: "s" }],
        ["basic", { realm: "x, y" }],
      ],
    ],
    [
      "several headers",
      ["Basic realm=a", "Bearer realm=b"],
      [
        ["basic", { realm: "a" }],
        ["bearer", { realm: "b" }],
      ],
    ],
    ["spaces around the equals sign", `BEARER Realm = "a" , x = b`, [["bearer", { realm: "a", x: "b" }]]],
    ["escaped characters", String.raw`Bearer realm="a\"b\\c"`, [["bearer", { realm: String.raw`a"b\c` }]]],
    ["a quote that is never closed", `Bearer realm="https://a`, [["bearer", { realm: "https://a" }]]],
    ["the first of two equal names counts", "Bearer realm=a,realm=b", [["bearer", { realm: "a" }]]],
    ["parameters without a scheme", `realm="a"`, []],
    ["nothing", "", []],
  ])("%s", (_, header, challenges) => {
    expect(parsed(header)).toEqual(challenges);
  });

  test("a missing header holds no challenge", () => {
    expect(parseChallenges(undefined)).toEqual([]);
  });

  test("whatever comes, it neither throws nor hangs", () => {
    const hostile = fc.array(
      fc.constantFrom('"', "\\", ",", "=", " ", "\t", "Bearer", "realm", "a", "\u0000"),
      {
        maxLength: 4000,
      },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          hostile.map((parts) => parts.join("")),
        ),
        (header) => {
          expect(parseChallenges(header).length).toBeLessThanOrEqual(16);
        },
      ),
    );
  });

  test.each(['"', "\\", ",", "=", " ", 'a="\\', "a ", "a=,"])(
    "a megabyte of %j is read in no time",
    (text) => {
      const header = `Bearer realm="${text.repeat(1_000_000 / text.length)}`;
      expect(leastTime(() => parseChallenges(header))).toBeLessThan(500);
    },
  );
});
