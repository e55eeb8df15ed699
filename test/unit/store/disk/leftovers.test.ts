import { systemClock } from "../../../../src/async/clock.ts";
import { open, mkdtemp, readdir, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { digestOf, hexOf } from "../../../../src/oci/digest.ts";
import { DiskBlobs } from "../../../../src/store/disk/blobs.ts";
import type { FillSource } from "../../../../src/store/fill/fill.ts";
import { Fills } from "../../../../src/store/fill/fills.ts";
import { keptForMs, worthKeeping } from "../../../../src/store/disk/leftovers.ts";

const missing = Buffer.from("the rest");
// A file of zeros takes no space on disk, and no time to make.
const whole = Buffer.concat([Buffer.alloc(worthKeeping), missing]);
const digest = digestOf(whole);

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "hubcap-leftovers-"));
  await DiskBlobs.at(root);
});

/** What a process that was killed had written of the blob. */
async function leave(size: number, name = `sha256-${hexOf(digest)}.${size}`): Promise<void> {
  await using file = await open(join(root, "ingest", name), "w");
  await file.truncate(size);
}

const left = (): Promise<string[]> => readdir(join(root, "ingest"));

describe("what a crash has left behind", () => {
  it("is removed when it is small, and when no one can tell what it is", async () => {
    await leave(worthKeeping - 1);
    await leave(worthKeeping, "4711-1-abc");
    await writeFile(join(root, "ingest", "probe"), "?");
    const blobs = await DiskBlobs.at(root);
    expect(blobs.kept(digest)).toBe(0);
    expect(await left()).toEqual([]);
  });

  it("is removed when no one has asked for it for a week", async () => {
    await leave(worthKeeping);
    const path = join(root, "ingest", `sha256-${hexOf(digest)}.${worthKeeping}`);
    const recently = (Date.now() - keptForMs + 60_000) / 1000;
    await utimes(path, recently, recently);
    expect((await DiskBlobs.at(root)).kept(digest)).toBe(worthKeeping);
    await utimes(path, recently - 120, recently - 120);
    expect((await DiskBlobs.at(root)).kept(digest)).toBe(0);
    expect(await left()).toEqual([]);
  });

  it("is gone on with when it is large, of two the larger one", async () => {
    await leave(worthKeeping);
    await leave(worthKeeping - 5);
    await leave(worthKeeping + 1, `sha256-${hexOf(digest)}.other`);
    const blobs = await DiskBlobs.at(root);
    expect(blobs.kept(digest)).toBe(worthKeeping + 1);
    expect(blobs.keptInAll()).toBe(worthKeeping + 1);
    expect(await left()).toEqual([`sha256-${hexOf(digest)}.other`]);
  });

  it("is hashed again, and only the rest is fetched", async () => {
    await leave(worthKeeping);
    const blobs = await DiskBlobs.at(root);
    const ingest = await blobs.ingest(digest);
    const source: FillSource = {
      offset: worthKeeping - 1,
      size: whole.length,
      body: (async function* body() {
        yield whole.subarray(worthKeeping - 1);
      })(),
      cancel: () => {},
    };
    const fill = new Fills(systemClock).begin(digest, ingest, source, {
      resume: () => Promise.reject(new Error("nothing more is needed")),
      hold: async () => {},
    });
    const content = fill.open();
    let received = 0;
    for await (const piece of content?.pieces() ?? []) received += piece.length;
    await fill.settled;
    expect(received).toBe(whole.length);
    expect(await blobs.size(digest)).toBe(whole.length);
    expect(blobs.kept(digest)).toBe(0);
    expect(blobs.keptInAll()).toBe(0);
    expect(await left()).toEqual([]);
  });

  it("is dropped when it was not what it should be, so that the next pull begins anew", async () => {
    await leave(worthKeeping);
    await using file = await open(join(root, "ingest", `sha256-${hexOf(digest)}.${worthKeeping}`), "r+");
    await file.write(Buffer.from("x"), 0, 1, 1000);
    const blobs = await DiskBlobs.at(root);
    const ingest = await blobs.ingest(digest);
    await ingest.rehash();
    await ingest.write(missing);
    expect(() => ingest.verify()).toThrow(/came as/);
    await ingest.close();
    expect(await left()).toEqual([]);
    expect(blobs.kept(digest)).toBe(0);
  });
});
