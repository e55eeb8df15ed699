import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { LockedError, lockRoot } from "../../../../src/store/sqlite/lock.ts";

it("a data root has one user at a time (R50)", async () => {
  const root = join(await mkdtemp(join(tmpdir(), "hubcap-lock-")), "storage");
  const lock = lockRoot(root);
  expect(() => lockRoot(root)).toThrow(LockedError);
  lock.release();
  lockRoot(root).release();
});
