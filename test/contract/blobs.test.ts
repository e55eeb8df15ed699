import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe } from "vitest";
import { DiskBlobs } from "../../src/store/blobs.ts";
import { blobsContract } from "./blobs.contract.ts";

describe("DiskBlobs", () => {
  blobsContract(async () => DiskBlobs.at(await mkdtemp(join(tmpdir(), "hubcap-blobs-"))));
});
