/** A minute of the soak, the same every time, with the attacks that the others do not notice yet. */
import { expect, test } from "vitest";
import { soak } from "./soak.ts";

/**
 * Not yet among them: repositories that an upstream refuses, breaks or limits. `npm run soak` has them too, and says what does
 * not hold.
 */
const attacks = [
  "manifests that are requested in one go and not read",
  "blobs that are requested in one go and not read",
  "lists that are not read",
  "made-up digests of manifests",
  "made-up digests of blobs, by HEAD",
  "made-up repositories under made-up names",
  "made-up tags under the names of others",
  "large blobs that are abandoned",
  "idle connections",
  "indexes of 900 and 10,000 children",
];

test(
  "64 clients of which half are hostile: no other client's pull fails, and nothing is left",
  { timeout: 600_000 },
  async () => {
    // Ten times what is usual: the machine may be slow.
    const failures = await soak({
      minutes: 1,
      seed: 15,
      p99Ms: 2500,
      attacks,
      say: (line) => process.stdout.write(`${line}\n`),
    });
    expect(failures).toEqual([]);
  },
);
