import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { digestOf, hexOf, type Digest } from "../../../../src/oci/digest.ts";
import { DiskBlobs } from "../../../../src/store/disk/blobs.ts";
import { SqliteCatalog } from "../../../../src/store/sqlite/catalog.ts";
import type { Catalog, Survey } from "../../../../src/store/catalog.ts";
import { Reconciler } from "../../../../src/store/repair/reconcile.ts";
import { openDatabase, SqliteFile } from "../../../../src/store/sqlite/database.ts";
import { systemClock } from "../../../../src/async/clock.ts";
import { Scrub } from "../../../../src/store/repair/scrub.ts";
import { SqliteSurvey } from "../../../../src/store/sqlite/survey.ts";
import { catalogSchema } from "../../../../src/store/sqlite/schema.ts";

const day = 24 * 60 * 60 * 1000;
const running = new AbortController().signal;

let root: string;
let blobs: DiskBlobs;
let catalog: Catalog;
let survey: Survey;
let reconciler: Reconciler;
let condemned: string[];
let now: number;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "hubcap-scrub-"));
  blobs = await DiskBlobs.at(root);
  const database = openDatabase(":memory:", catalogSchema);
  catalog = new SqliteCatalog(new SqliteFile(database));
  survey = new SqliteSurvey(new SqliteFile(database));
  const found: string[] = [];
  condemned = found;
  reconciler = new Reconciler({
    blobs,
    catalog,
    condemned: (digest, flaw) => found.push(`${flaw} ${digest}`),
  });
  now = 1000;
});

const clock = (): number => now;

function failed(error: unknown): never {
  throw error;
}

function openScrub(rate = 1e9, read: number[] = []): Scrub {
  const scrubbed = (bytes: number): void => void read.push(bytes);
  return new Scrub({
    survey,
    reconciler,
    rate,
    every: 30 * day,
    scrubbed,
    failed,
    clock: { ...systemClock, now: clock },
  });
}

/** A blob of `size` bytes, which may then be overwritten with others. */
async function hold(size: number, rotten?: Buffer): Promise<Digest> {
  const bytes = Buffer.alloc(size, size);
  const digest = digestOf(bytes);
  await blobs.put(digest, bytes);
  await catalog.adopt(digest, size);
  const hex = hexOf(digest);
  if (rotten) await writeFile(join(root, "blobs", "sha256", hex.slice(0, 2), hex), rotten);
  return digest;
}

async function round(scrub: Scrub): Promise<void> {
  while (await scrub.step(running));
}

describe("the scrub", () => {
  it("reads every blob once, takes out those that have rotted, and rests until the next round is due (R14)", async () => {
    const sizes = [0, 10, 100, 300_000];
    for (const size of sizes) await hold(size);
    const rotten = await hold(20, Buffer.alloc(20, 1));
    const short = await hold(30, Buffer.alloc(29));
    const read: number[] = [];
    const scrub = openScrub(1e9, read);
    await round(scrub);
    expect(read.toSorted((a, b) => a - b)).toEqual([0, 10, 20, 30, 100, 300_000]);
    expect(condemned.toSorted()).toEqual([`bytes ${rotten}`, `size ${short}`].toSorted());
    expect(await catalog.blobAnywhere(rotten)).toBeUndefined();
    expect(await blobs.size(rotten)).toBeUndefined();

    now += 29 * day;
    await round(scrub);
    expect(read).toHaveLength(6);
    now += day;
    await round(scrub);
    expect(read).toHaveLength(10);
  });

  it("goes on where the last process stopped", async () => {
    for (const size of [1, 2, 3, 4]) await hold(size);
    const read: number[] = [];
    const first = openScrub(1e9, read);
    now += day;
    await first.step(running);
    await first.step(running);
    const stop = new AbortController();
    stop.abort();
    await first.run(stop.signal);
    await round(openScrub(1e9, read));
    expect(read.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4]);
  });

  it("reads no faster than it may, and stops at once when it is asked to", async () => {
    await hold(300_000);
    const stop = new AbortController();
    const started = performance.now();
    const step = openScrub(1_000_000).step(stop.signal);
    await step;
    expect(performance.now() - started).toBeGreaterThanOrEqual(290);
    await hold(400_000);
    const slow = openScrub(1).run(stop.signal);
    stop.abort();
    await slow;
    expect(condemned).toEqual([]);
  });

  it("passes over what was removed while it was read", async () => {
    const digest = await hold(20, Buffer.alloc(20, 1));
    const scrub = openScrub(100);
    const step = scrub.step(running);
    await catalog.forget(digest);
    await step;
    expect(condemned).toEqual([]);
  });

  it("goes on with the next blob when one can neither be read nor taken out of service", async () => {
    for (const size of [1, 2, 3]) await hold(size);
    const read: number[] = [];
    const [first] = await survey.page("", 1);
    const inner = reconciler.examine.bind(reconciler);
    reconciler.examine = (digest, size) =>
      digest === first?.digest ? Promise.reject(new Error("the disk says no")) : inner(digest, size);
    const scrub = openScrub(1e9, read);
    await expect(scrub.step(running)).rejects.toThrow("the disk says no");
    await round(scrub);
    expect(read.toSorted((a, b) => a - b)).toEqual([1, 2, 3].filter((size) => size !== first?.size));
  });
});
