/**
 * Loaded into Hubcap with `--import`: while the file that BROKEN_DISK names exists, the operations in it fail, as in
 * `sync EIO`. How often each was tried is written to standard error.
 */
import { existsSync, readFileSync } from "node:fs";
import { disk } from "../../../src/store/disk/files.ts";

const path = process.env["BROKEN_DISK"] ?? "";

function fail(operation: string): void {
  if (!existsSync(path)) return;
  const [broken, code = "EIO"] = readFileSync(path, "utf8").split(" ");
  if (operation !== broken && broken !== "all") return;
  process.stderr.write(`${operation} failed\n`);
  throw Object.assign(new Error(`${code}: injected, ${operation}`), { code });
}

const real = { ...disk };
disk.create = async (name) => {
  fail("create");
  const file = await real.create(name);
  const sync = file.sync.bind(file);
  const write = file.write.bind(file) as (...args: unknown[]) => ReturnType<typeof file.write>;
  return Object.assign(file, {
    sync: async () => {
      fail("sync");
      await sync();
    },
    write: async (...args: unknown[]) => {
      fail("write");
      return write(...args);
    },
  });
};
disk.rename = async (from, to) => {
  fail("rename");
  await real.rename(from, to);
};
