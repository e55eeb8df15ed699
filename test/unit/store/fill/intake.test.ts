/** Whether a blob can be stored: what the disk has to have for it, and what a fill hears when there is no more space. */
import { expect, it } from "vitest";
import { systemClock } from "../../../../src/async/clock.ts";
import { digestOf } from "../../../../src/oci/digest.ts";
import { Fills } from "../../../../src/store/fill/fills.ts";
import { Intake } from "../../../../src/store/fill/intake.ts";
import { FakeBlobs } from "../../../support/fakeBlobs.ts";

const digest = digestOf(Buffer.from("a layer"));
const claim = { isNamed: true };

/** On a disk with 100 bytes left, with `lacking` bytes to be evicted until all that comes has space. */
function intake(lacking: number, made = Infinity) {
  return new Intake({
    blobs: new FakeBlobs(),
    fills: new Fills(systemClock),
    space: {
      reserve: async () => ({ make: async (bytes) => bytes <= made, release: () => {} }),
      lacking: async () => lacking,
    },
    isNamed: async () => true,
    health: { refusal: async (bytes) => (bytes > 100 ? "full" : undefined), note: () => undefined },
  });
}

it.each([
  ["is free", 100, 0, "object"],
  ["is free, with capacity to spare", 100, -50, "object"],
  ["will be evicted before it comes", 150, 50, "object"],
  ["is not there, and will not be", 151, 50, "string"],
  ["is not there, whatever the capacity has to spare", 101, -50, "string"],
] as const)("stores a blob only if what it takes %s", async (_what, size, lacking, kind) => {
  expect(await intake(lacking).open(digest, size, claim)).toBeTypeOf(kind);
});

it("tells a fill for which nothing more can be evicted that this is why it ends", async () => {
  const space = await intake(0, 50).open(digest, 90, claim);
  if (typeof space === "string") throw new Error(space);
  await space.make(50);
  await expect(space.make(51)).rejects.toMatchObject({ name: "FillError", kind: "capacity" });
});

it("makes no space for a blob of unknown size, for which none is reserved", async () => {
  const space = await intake(0, 0).open(digest, undefined, claim);
  if (typeof space === "string") throw new Error(space);
  await expect(space.make(1000)).resolves.toBeUndefined();
});
