/** Blobs that the disk does not give back, or does not take: which errors mean that, and which do not to swallow. */
import type * as FsPromises from "node:fs/promises";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { digestOf } from "../../../../src/oci/digest.ts";
import { DiskBlobs } from "../../../../src/store/disk/blobs.ts";
import { isUnreadable } from "../../../../src/store/error.ts";
import { disk } from "../../../../src/store/disk/files.ts";

const broken = vi.hoisted(() => ({ open: "", stat: "", readFile: "" }));

function failing(call: keyof typeof broken): void {
  const code = broken[call];
  if (code) throw Object.assign(new Error(`${code}: injected, ${call}`), { code });
}

vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof FsPromises>();
  return {
    ...real,
    open: async (...args: Parameters<typeof real.open>) => {
      failing("open");
      const file = await real.open(...args);
      const readFile = file.readFile.bind(file);
      return Object.assign(file, {
        readFile: (async () => {
          failing("readFile");
          return readFile();
        }) as typeof file.readFile,
      });
    },
    stat: (async (...args: Parameters<typeof real.stat>) => {
      failing("stat");
      return real.stat(...args);
    }) as typeof real.stat,
  };
});

const bytes = Buffer.from("a blob");
const digest = digestOf(bytes);
let blobs: DiskBlobs;
let root: string;

beforeEach(async () => {
  Object.assign(broken, { open: "", stat: "", readFile: "" });
  root = await mkdtemp(join(tmpdir(), "hubcap-unreadable-"));
  blobs = await DiskBlobs.at(root);
  await blobs.put(digest, bytes);
});

describe("a blob that the disk does not give back", () => {
  it.each(["EIO", "EUCLEAN", "EACCES"])("by %s counts as absent, wherever that shows", async (code) => {
    expect(isUnreadable({ code })).toBe(true);
    for (const call of ["open", "readFile", "stat"] as const) {
      broken[call] = code;
      const seen = [
        await blobs.read(digest, bytes.length),
        call === "open" && (await blobs.open(digest, bytes.length)),
        call === "stat" && (await blobs.size(digest)),
      ];
      expect(seen.filter((one) => one !== undefined && one !== false)).toEqual(
        call === "stat" ? [bytes] : [],
      );
      broken[call] = "";
    }
    expect(await blobs.read(digest, bytes.length)).toEqual(bytes);
  });

  it.each(["EMFILE", "ENOMEM"])("by %s is no verdict on the blob", async (code) => {
    broken.open = code;
    await expect(blobs.open(digest, bytes.length)).rejects.toMatchObject({ code });
    await expect(blobs.read(digest, bytes.length)).rejects.toMatchObject({ code });
  });
});

describe("a disk that may only be read", () => {
  it.each(["EROFS", "EACCES", "EUCLEAN"])("says so by %s, and the blob stays where it is", async (code) => {
    const refuse = (): Promise<never> => Promise.reject(Object.assign(new Error(code), { code }));
    const files = { ...disk, create: refuse, rename: refuse, remove: refuse };
    const readOnly = await DiskBlobs.at(root, files);
    const other = Buffer.from("another");
    await expect(readOnly.put(digestOf(other), other)).rejects.toMatchObject({ code });
    await expect(readOnly.remove(digest)).rejects.toMatchObject({ code });
    await expect(readOnly.quarantine(digest)).rejects.toMatchObject({ code });
    expect(await readOnly.read(digest, bytes.length)).toEqual(bytes);
  });
});
