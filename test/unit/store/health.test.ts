import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { disk, type Files } from "../../../src/store/disk/files.ts";
import { Health } from "../../../src/store/health.ts";
import { StoreUnavailableError, type Trouble } from "../../../src/store/error.ts";

const minFree = 1000;

let root: string;
let free: number;
let broken: string | undefined;
let heard: (Trouble | undefined)[];
let health: Health;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "hubcap-health-"));
  free = 5000;
  broken = undefined;
  heard = [];
  const files: Files = {
    ...disk,
    free: async () => free,
    create: (path) => (broken === undefined ? disk.create(path) : Promise.reject(failure(broken))),
  };
  health = new Health({ root, minFree, files, changed: (trouble) => heard.push(trouble) });
});

function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}

describe("the health of the disk", () => {
  it("refuses a blob for which there is no space, without being in trouble", async () => {
    expect(await health.refusal(4000)).toBeUndefined();
    expect(await health.refusal(4001)).toBe("full");
    expect(health.trouble).toBeUndefined();
  });

  it("is in trouble while less is free than should be, and says so once", async () => {
    free = 999;
    await health.check();
    await health.check();
    expect(health.trouble).toBe("full");
    expect(await health.refusal(0)).toBe("full");
    free = 1000;
    await health.check();
    expect(health.trouble).toBeUndefined();
    expect(heard).toEqual(["full", undefined]);
  });

  it.each(["full", "failing"] as const)(
    "learns from a store that does not answer that it is %s",
    (trouble) => {
      const unavailable = new StoreUnavailableError(trouble);
      expect(health.note(new Error("a pull failed", { cause: unavailable }))).toBe(trouble);
      expect(health.trouble).toBe(trouble);
    },
  );

  it.each([
    ["ENOSPC", "full"],
    ["EDQUOT", "full"],
    ["EIO", "failing"],
    ["EROFS", "failing"],
    ["EUCLEAN", "failing"],
    ["EACCES", "failing"],
  ])(
    "learns from %s that the disk is %s, and believes it again when a file can be written",
    async (code, trouble) => {
      broken = "EIO";
      expect(health.note(new Error("a fill failed", { cause: failure(code) }))).toBe(trouble);
      expect(health.trouble).toBe(trouble);
      await health.check();
      expect(health.trouble).toBe("failing");
      broken = undefined;
      await health.check();
      expect(health.trouble).toBeUndefined();
      expect(await readdir(root)).toEqual([]);
    },
  );

  it("learns nothing from what is not the disk's fault", () => {
    expect(health.note(failure("ECONNRESET"))).toBeUndefined();
    expect(health.note(new Error("no code"))).toBeUndefined();
    expect(health.note(Object.assign(failure("EACCES"), { syscall: "connect" }))).toBeUndefined();
    expect(heard).toEqual([]);
  });
});
