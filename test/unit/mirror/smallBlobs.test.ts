/** What is read whole into memory: few at once, and only once it has come. */
import { expect, it } from "vitest";
import type { BlobResult } from "../../../src/mirror/blobPull.ts";
import { readSmall } from "../../../src/mirror/smallBlobs.ts";

const bytes = Buffer.from("a config");
const limit = 1000;

/** How many blobs are being read, how many were at most, and how many were closed unread. */
interface Reads {
  now: number;
  most: number;
  closed: number;
}

const none = (): Reads => ({ now: 0, most: 0, closed: 0 });

/** A blob that ends once `end` settles. */
function blob(
  reads: Reads,
  end: Promise<unknown>,
  outcome: "hit" | "miss" = "hit",
  told: number | "nothing" = bytes.length,
) {
  const size = told === "nothing" ? undefined : told;
  async function* pieces(): AsyncGenerator<Buffer> {
    reads.now += 1;
    reads.most = Math.max(reads.most, reads.now);
    try {
      yield bytes.subarray(0, 3);
      await end;
      yield bytes.subarray(3);
    } finally {
      reads.now -= 1;
    }
  }
  const close = async (): Promise<void> => void (reads.closed += 1);
  return { outcome, size, content: { size, pieces, close } } satisfies BlobResult;
}

const never = new Promise<never>(() => {});
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it("reads few of those that are held at once, and all in the end", async () => {
  const reads = none();
  const all = Array.from({ length: 100 }, () => readSmall(async () => blob(reads, turn()), limit));
  for (const read of await Promise.all(all)) expect(read).toEqual(bytes);
  expect(reads.most).toBeLessThanOrEqual(8);
});

it("keeps none of those waiting for blobs that do not come, be they stored or passed through", async () => {
  const stalled = none();
  for (let number = 0; number < 100; number += 1) {
    void readSmall(async () => blob(stalled, never, "miss"), limit);
    const passed = blob(stalled, never, "miss");
    void readSmall(async () => ({ ...passed, content: { ...passed.content, fromStart: true } }), limit);
  }
  await turn();
  const reads = none();
  expect(await readSmall(async () => blob(reads, turn()), limit)).toEqual(bytes);
});

it("reads what has come from where it is stored", async () => {
  const reads = none();
  const answers = [blob(reads, turn(), "miss"), blob(reads, turn())];
  const get = async (): Promise<BlobResult> => answers.shift() ?? { outcome: "hit", size: undefined };
  expect(await readSmall(get, limit)).toEqual(bytes);
  expect(answers).toEqual([]);
});

it.each([
  ["whose size says so", 1001],
  ["whose size is not known", "nothing"],
] as const)("reads none that is larger than the limit, %s", async (_how, size) => {
  for (const outcome of ["hit", "miss"] as const) {
    const reads = none();
    expect(
      await readSmall(async () => blob(reads, turn(), outcome, size), size === 1001 ? limit : 5),
    ).toBeUndefined();
    expect([reads.now, reads.closed]).toEqual([0, size === 1001 ? 1 : 0]);
  }
});
