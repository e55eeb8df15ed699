/** A minute of the soak, the same every time. */
import { expect, test } from "vitest";
import { soak } from "./soak.ts";

test(
  "64 clients of which half are hostile: no other client's pull fails, and nothing is left",
  { timeout: 600_000 },
  async () => {
    // Ten times what is usual: the machine may be slow.
    const failures = await soak({
      minutes: 1,
      seed: 15,
      p99Ms: 2500,
      say: (line) => process.stdout.write(`${line}\n`),
    });
    expect(failures).toEqual([]);
  },
);
