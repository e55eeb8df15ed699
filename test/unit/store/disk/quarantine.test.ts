/** Quarantine keeps what people may look at for a while, and no more of it than fits. */
import { mkdir, mkdtemp, readdir, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, it } from "vitest";
import { quarantinedForMs, sweepQuarantine } from "../../../../src/store/disk/quarantine.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hubcap-quarantine-"));
});

/** When the last one was laid, in ms. */
let laid = 0;

/** Something of 100 bytes that comes later than what was laid before, however seldom the disk's clock ticks. */
async function lay(name: string): Promise<void> {
  const path = join(folder, name);
  await writeFile(path, Buffer.alloc(100));
  const earlier = laid;
  while (laid < earlier + 2) {
    // Blobs keep the time at which they were fetched, which may be long ago.
    await utimes(path, 1, 1);
    laid = (await stat(path)).ctimeMs;
  }
}

const left = async (): Promise<string[]> => (await readdir(folder)).toSorted();

it("lets the oldest go when there is more than fits, and all of it when its time has come", async () => {
  for (const name of ["a", "b", "c"]) await lay(name);
  await sweepQuarantine(folder, 300, Date.now());
  expect(await left()).toEqual(["a", "b", "c"]);
  await sweepQuarantine(folder, 250, Date.now());
  expect(await left()).toEqual(["b", "c"]);
  const { ctimeMs } = await stat(join(folder, "b"));
  await sweepQuarantine(folder, 300, ctimeMs + quarantinedForMs + 1);
  expect(await left()).toEqual(["c"]);
  await sweepQuarantine(folder, 50, Date.now());
  expect(await left()).toEqual([]);
});

it("takes folders along, and needs none", async () => {
  await mkdir(join(folder, "stray"));
  await writeFile(join(folder, "stray", "file"), "?");
  await sweepQuarantine(folder, 0, Date.now() + 2 * quarantinedForMs);
  expect(await left()).toEqual([]);
  await sweepQuarantine(folder, 0, Date.now());
});
