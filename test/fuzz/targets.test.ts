/** Whatever comes, parsers read it or refuse it in their own words, and in time: for each, by chance and by coverage. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { growth, leastTime } from "../support/speed.ts";
import { fuzz } from "./fuzzer.ts";
import type { FuzzTarget } from "./fuzzTarget.ts";
import { targets } from "./targets/targets.ts";

/** Inputs that broke something once. */
const broke: readonly (readonly [target: string, input: Buffer])[] = [
  [
    "names",
    Buffer.from(
      `docker.io/x/${"a".repeat(240)}:1@sha256:${"ab".repeat(32)}\ndocker.io/x/${"*a".repeat(100)}*b\n`,
    ),
  ],
];

const inputs = ({ seeds }: FuzzTarget): fc.Arbitrary<Buffer> => {
  const pieces = seeds.flatMap((seed) => [seed, ...seed.split(/(?<=\W)|(?=\W)/)]);
  const bytes = fc.uint8Array({ maxLength: 64 }).map((array) => Buffer.from(array));
  const piece = fc.constantFrom(...pieces).map((text) => Buffer.from(text));
  return fc
    .array(fc.oneof({ weight: 4, arbitrary: piece }, bytes), { maxLength: 40 })
    .map((all) => Buffer.concat(all));
};

describe.each(Object.entries(targets))("%s", (_, target) => {
  test("what is made of pieces of good input, and of anything, breaks nothing", () => {
    for (const seed of target.seeds) target.run(Buffer.from(seed));
    fc.assert(
      fc.property(inputs(target), (input) => {
        target.run(input);
      }),
      { numRuns: 2000 },
    );
  });
});

const untrusted = Object.entries(targets).filter(([, { isTrusted }]) => !isTrusted);

test.each(untrusted)(
  "%s: the time for a piece that comes again and again grows with its length",
  (_, target) => {
    const all = new Set(target.seeds.flatMap((seed) => seed.split(/(?<=\W)|(?=\W)/)));
    for (const piece of all) {
      for (const seed of target.seeds.slice(0, 2)) {
        const repeated = (size: number) => Buffer.from(seed + piece.repeat(Math.ceil(size / piece.length)));
        // What is quadratic takes eight times as long.
        const factor = growth(repeated, 2000, (input) => target.run(input));
        expect(factor, `${JSON.stringify(piece)} after ${JSON.stringify(seed)}`).toBeLessThan(5);
      }
    }
  },
);

test.each(["target", "challenge", "manifest"])(
  "%s: the fuzzer finds its way beyond the seeds",
  async (name) => {
    const folder = await mkdtemp(join(tmpdir(), "hubcap-fuzz-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const corpus = join(folder, "corpus");
    const result = await fuzz(name, { seconds: 2, crashes: join(folder, "crashes"), corpus });
    expect(result).toMatchObject({ code: 0, crashes: [], trouble: "" });
    const [seeded, reached] = result.features;
    expect(seeded).toBeGreaterThan(0);
    expect(reached).toBeGreaterThan(seeded);
  },
);

test.each(broke)("%s: what broke it once does so no more", (name, input) => {
  expect(leastTime(() => targets[name]?.run(input))).toBeLessThan(1000);
});
