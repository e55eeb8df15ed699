import { systemClock } from "../../../../src/async/clock.ts";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { digestOf, hexOf } from "../../../../src/oci/digest.ts";
import { DiskBlobs } from "../../../../src/store/disk/blobs.ts";
import { Fills } from "../../../../src/store/fill/fills.ts";
import { disk, type Files, type OpenFile } from "../../../../src/store/disk/files.ts";

const bytes = Buffer.from("a blob on its way in");
const digest = digestOf(bytes);
const blob = join("blobs", "sha256", hexOf(digest).slice(0, 2), hexOf(digest));

let root: string;
let order: string[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "hubcap-ingest-"));
  order = [];
});

function name(path: string): string {
  const below = relative(root, path);
  return below.startsWith("ingest") ? "the ingest" : below;
}

/** The disk, with each operation written down; `change` may make some of them fail. */
function recorded(change: Partial<OpenFile> = {}): Files {
  const steps = order;
  return {
    ...disk,
    async create(path) {
      const file = await disk.create(path);
      const write = file.write.bind(file) as (...args: unknown[]) => ReturnType<OpenFile["write"]>;
      steps.push("create");
      return {
        fd: file.fd,
        read: file.read.bind(file),
        close: file.close.bind(file),
        write: async (...args: unknown[]) => {
          steps.push("write");
          return write(...args);
        },
        async sync() {
          steps.push("sync");
          await file.sync();
        },
        ...change,
      };
    },
    async rename(from, to) {
      steps.push(`rename ${name(from)} to ${name(to)}`);
      await disk.rename(from, to);
    },
    async syncFolder(path) {
      steps.push(`sync ${name(path)}`);
      await disk.syncFolder(path);
    },
    async remove(path) {
      steps.push(`remove ${name(path)}`);
      await disk.remove(path);
    },
  };
}

async function fill(files: Files): Promise<void> {
  const blobs = await DiskBlobs.at(root, files);
  const steps = order;
  const body = (async function* sent() {
    yield bytes;
  })();
  const source = { offset: 0, size: bytes.length, body, cancel: () => {} };
  const running = new Fills(systemClock).begin(digest, await blobs.ingest(digest), source, {
    resume: () => Promise.reject(new Error("nothing more is needed")),
    hold: async () => void steps.push("row"),
  });
  await running.settled;
}

describe("a blob that comes in", () => {
  it("is safe before its name is, and its name before its row: what a power cut takes is never half (R19)", async () => {
    await fill(recorded());
    const folder = blob.slice(0, blob.lastIndexOf("/"));
    expect(order).toEqual([
      "create",
      "write",
      "sync",
      `rename the ingest to ${blob}`,
      `sync ${folder}`,
      "sync blobs/sha256",
      "row",
    ]);
  });

  it("is removed, without a second fsync and without a name, when the first one fails (R20)", async () => {
    const steps = order;
    const sync = async (): Promise<void> => {
      steps.push("sync");
      throw Object.assign(new Error("EIO: i/o error, fsync"), { code: "EIO" });
    };
    await expect(fill(recorded({ sync }))).rejects.toMatchObject({ kind: "disk" });
    expect(order).toEqual(["create", "write", "sync", "remove the ingest"]);
  });

  it("is written whole by a disk that takes only a part at a time, and reports success (R22)", async () => {
    const whole = recorded();
    const files: Files = {
      ...whole,
      async create(path) {
        const file = await whole.create(path);
        const write = file.write as unknown as (
          bytes: Uint8Array,
          offset: number,
          length: number,
          position: number,
        ) => ReturnType<OpenFile["write"]>;
        const some = (chunk: Uint8Array, offset: number, length: number, position: number) =>
          write(chunk, offset, Math.min(7, length), position);
        return { ...file, write: some as unknown as OpenFile["write"] };
      },
    };
    await fill(files);
    expect(order.filter((step) => step === "write")).toHaveLength(Math.ceil(bytes.length / 7));
    expect(await (await DiskBlobs.at(root)).read(digest, bytes.length)).toEqual(bytes);
  });
});
