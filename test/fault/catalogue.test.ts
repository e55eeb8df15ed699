/** The cases that were thought of before they happened (S: hostile peers, R: things that break): each has its test, by number. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cases } from "./catalogue.ts";

const folder = join(import.meta.dirname, "..");
const texts = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((file) => /\.(?:test|contract)\.ts$/.test(file))
  .map((file) => readFileSync(join(folder, file), "utf8"));

/** Every title: what stands in quotes, alone or before the function that is the test. */
const titles = texts
  .flatMap((text) => text.split("\n").filter((line) => !/^\s*(?:\/\*\*|\*|\/\/)/.test(line)))
  .flatMap((line) => [...line.matchAll(/(["`])((?:[^\\]|\\.)*?)\1/g)].map(([, , title = ""]) => title));

test.each(Object.entries(cases))("%s has a test: %s", (number) => {
  const named = new RegExp(`(?:^|[ (])${number}(?:[ ,:)]|$)`);
  expect(titles.filter((title) => named.test(title)).length).toBeGreaterThan(0);
});
