/** Contrast as WCAG 2.2 demands it (1.4.3 for text, 1.4.11 for drawings), computed from the style sheet's own colours. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const css = readFileSync(new URL("../../../../src/http/page/browser/page.css", import.meta.url), "utf8");

function tokensIn(block: string): ReadonlyMap<string, string> {
  return new Map(
    [...block.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map(([, name = "", value = ""]) => [name, value]),
  );
}

const roots = [...css.matchAll(/:root \{([^}]*)\}/g)].map(([, block = ""]) => tokensIn(block));
const schemes = { light: roots[0], dark: roots[1] };

/** Relative luminance (WCAG 2.2). */
function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5]
    .map((at) => Number.parseInt(colour.slice(at, at + 2), 16) / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one: string, other: string): number {
  const [bright = 0, dark = 0] = [luminance(one), luminance(other)].toSorted((a, b) => b - a);
  return (bright + 0.05) / (dark + 0.05);
}

test("white on black is 21, as the standard says", () => {
  expect(contrast("#ffffff", "#000000")).toBeCloseTo(21);
});

for (const [scheme, tokens] of Object.entries(schemes)) {
  const colour = (name: string): string => tokens?.get(name) ?? `there is no --${name}`;

  test.each(["text", "muted", "accent", "good", "warn", "bad", "plain"])(
    `${scheme}: %s is legible`,
    (name) => {
      for (const ground of ["surface", "ground"]) {
        expect(contrast(colour(name), colour(ground))).toBeGreaterThanOrEqual(4.5);
      }
    },
  );

  test.each(["hit", "join", "stale", "miss", "error", "saved"])(
    `${scheme}: %s can be distinguished from its ground`,
    (name) => {
      expect(contrast(colour(name), colour("surface"))).toBeGreaterThanOrEqual(3);
    },
  );

  test(`${scheme}: a button is legible`, () => {
    expect(contrast(colour("on-accent"), colour("accent"))).toBeGreaterThanOrEqual(4.5);
  });
}

test("both schemes have the same tokens, and no colour stands anywhere else", () => {
  expect([...(schemes.dark?.keys() ?? [])]).toEqual([...(schemes.light?.keys() ?? [])]);
  const elsewhere = css.replaceAll(/:root \{[^}]*\}/g, "");
  expect(elsewhere).not.toMatch(/#[0-9a-f]{3,8}\b|rgba?\(|hsla?\(/i);
});
