import fc from "fast-check";
import { expect, test } from "vitest";
import { nextLink } from "../../../src/upstream/pages.ts";
import { leastTime } from "../../support/speed.ts";

const base = new URL("https://r.example/v2/a/tags/list?n=2");
const next = "https://r.example/v2/a/tags/list?n=2&last=b";

test.each([
  [`</v2/a/tags/list?n=2&last=b>; rel="next"`, next],
  [`<?n=2&last=b>;rel=next`, next],
  [`<${next}>; REL="NEXT"`, next],
  [`<${next}>; title="a, b"; rel="prev next"`, next],
  [`<https://r.example/x>; rel="prev", </v2/a/tags/list?n=2&last=b>; rel="next"`, next],
  [`<http://10.0.0.1/x>; rel="next"`, "http://10.0.0.1/x"],
  [`</x>; rel="last"`, undefined],
  [`</x>`, undefined],
  [`</x>; rel="nextish"`, undefined],
  [`</x; rel="next"`, undefined],
  [`<https://[>; rel="next"`, undefined],
  ["", undefined],
])("%s", (header, expected) => {
  expect(nextLink(header, base)?.href).toBe(expected);
});

test("several headers are one list, and none is none", () => {
  expect(nextLink([`</x>; rel="prev"`, `</y>; rel="next"`], base)?.pathname).toBe("/y");
  expect(nextLink(undefined, base)).toBeUndefined();
});

test("whatever comes, it neither throws nor hangs", () => {
  const hostile = fc
    .array(fc.constantFrom("<", ">", ";", ",", '"', "=", " ", "rel", "next", "a"), { maxLength: 4000 })
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(fc.oneof(fc.string(), hostile), (header) => {
      const found = nextLink(header, base);
      expect(found === undefined || found instanceof URL).toBe(true);
    }),
  );
  for (const text of ["<", "<>", "<>;", '<>;rel="', "<>;a=b", " ", "<> "]) {
    const header = text.repeat(300_000);
    expect(leastTime(() => nextLink(header, base))).toBeLessThan(500);
  }
});
