import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { DiskBlobs } from "../../src/store/disk/blobs.ts";
import { withMemoryCache } from "../../src/store/disk/memoryCache.ts";
import { FakeBlobs } from "../support/fakeBlobs.ts";
import { testStore } from "../support/testStore.ts";
import { blobsContract } from "./blobs.contract.ts";

async function onDisk(): Promise<DiskBlobs> {
  return DiskBlobs.at(await mkdtemp(join(tmpdir(), "hubcap-blobs-")));
}

describe("DiskBlobs", () => {
  blobsContract(onDisk);
});

describe("DiskBlobs with the recent ones in memory", () => {
  it("reads a blob from disk once", async () => {
    const disk = await onDisk();
    const blobs = withMemoryCache(disk);
    const bytes = Buffer.from("a manifest");
    const digest = digestOf(bytes);
    await blobs.put(digest, bytes);
    await blobs.read(digest, bytes.length);
    await disk.remove(digest);
    expect(await blobs.read(digest, bytes.length)).toEqual(bytes);
    await blobs.remove(digest);
    expect(await blobs.read(digest, bytes.length)).toBeUndefined();
  });
});

describe("what openStore gives", () => {
  blobsContract(async () => (await testStore()).blobs);
});

describe("FakeBlobs", () => {
  blobsContract(async () => new FakeBlobs());
});
