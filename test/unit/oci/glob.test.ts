/** Globs, however many stars they have and whatever they are tried on. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseGlob } from "../../../src/oci/glob.ts";
import { growth } from "../../support/speed.ts";

test.each([
  ["a*b*c*d", "a1b2c3d", true],
  ["a*b*c*d", "abcd", true],
  ["a*b*c*d", "a/bcd", false],
  ["**a*b*c", "x/y/abc", true],
  ["**a*b*c", "x/y/a/bc", false],
  ["*/*/*/x", "a/b/c/x", true],
  ["*/*/*/x", "a/b/x", false],
  ["a.b*c*d*", "aXbcd", false],
  ["", "", true],
])("%s tried on %s is %s", (glob, text, expected) => {
  expect(parseGlob(glob).test(text)).toBe(expected);
});

/** What a glob means, said slowly: what is left of it, tried on what is left of the text. */
function means(glob: string, text: string): boolean {
  if (glob === "") return text === "";
  if (!glob.startsWith("*")) return glob[0] === text[0] && means(glob.slice(1), text.slice(1));
  const stars = /^\*+/.exec(glob)?.[0].length ?? 0;
  for (let taken = 0; taken <= text.length; taken += 1) {
    if (stars === 1 && text.slice(0, taken).includes("/")) return false;
    if (means(glob.slice(stars), text.slice(taken))) return true;
  }
  return false;
}

function letters(set: string, maxLength: number): fc.Arbitrary<string> {
  return fc.string({ unit: fc.constantFrom(...set.split("")), maxLength });
}

test("with few stars or many, a glob matches what it means", () => {
  fc.assert(
    fc.property(letters("ab/**", 10), letters("ab/", 10), (glob, text) => {
      expect(parseGlob(glob).test(text)).toBe(means(glob, text));
    }),
    { numRuns: 3000 },
  );
});

test("the time for a glob of stars grows with the text, and no faster", () => {
  const glob = parseGlob(`${"*a".repeat(100)}*b`);
  expect(
    growth(
      (size) => "a".repeat(size),
      2000,
      (text) => glob.test(text),
    ),
  ).toBeLessThan(4);
});
