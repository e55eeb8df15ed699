/**
 * Loaded into Hubcap with `--import`: ends the process with SIGKILL at the step that CRASH_AT names, as `before rename#3`
 * (the third time). CRASH_CLOCK moves its clock ahead, in ms, so that what was pulled before is old enough to be evicted.
 */
import Database from "better-sqlite3";
import { SqliteCatalog } from "../../../src/store/sqlite/catalog.ts";
import { disk, type OpenFile } from "../../../src/store/disk/files.ts";
import { SqliteInventory } from "../../../src/store/sqlite/inventory.ts";

const [step, count = "1"] = (process.env["CRASH_AT"] ?? "").split("#");
let left = Number(count);

const systemNow = Date.now;
const ahead = Number(process.env["CRASH_CLOCK"] ?? 0);
Date.now = () => systemNow() + ahead;

function reached(name: string): void {
  if (name === step && --left === 0) process.kill(process.pid, "SIGKILL");
}

/** Puts a step before and after each call of `methods`. */
function watch(target: object, methods: readonly string[]): void {
  for (const name of methods) {
    const original = Reflect.get(target, name) as (...args: unknown[]) => unknown;
    Reflect.set(target, name, async function watched(this: unknown, ...args: unknown[]) {
      reached(`before ${name}`);
      const result = await Reflect.apply(original, this, args);
      reached(`after ${name}`);
      return result;
    });
  }
}

function watched(file: OpenFile): OpenFile {
  const write = file.write.bind(file);
  const whole = { write, sync: file.sync.bind(file) };
  watch(whole, ["write", "sync"]);
  const writing = async (bytes: Buffer, offset: number, length: number, position: number) => {
    if (step === "amid write") {
      await write(bytes, offset, Math.ceil(length / 2), position);
      reached("amid write");
    }
    return whole.write(bytes, offset, length, position);
  };
  return {
    get fd() {
      return file.fd;
    },
    read: file.read.bind(file),
    close: file.close.bind(file),
    sync: whole.sync,
    write: writing as OpenFile["write"],
  };
}

const real = { ...disk };
disk.create = async (path) => watched(await real.create(path));
watch(disk, ["create", "makeFolder", "rename", "syncFolder", "remove"]);
watch(SqliteCatalog.prototype, ["holdBlob", "holdManifest", "link", "resolve", "forget"]);
watch(SqliteInventory.prototype, ["drop", "discard", "use"]);

// Migrations are the only statements that create tables; those of the ledger are no step here.
const exec: unknown = Reflect.get(Database.prototype, "exec");
Reflect.set(Database.prototype, "exec", function watchedExec(this: unknown, sql: string): unknown {
  const name = sql.includes("CREATE TABLE") && !sql.includes("quota_") ? "migrate" : "exec";
  reached(`before ${name}`);
  const result: unknown = Reflect.apply(exec as (sql: string) => unknown, this, [sql]);
  reached(`after ${name}`);
  return result;
});
const prepare: unknown = Reflect.get(Database.prototype, "prepare");
Reflect.set(Database.prototype, "prepare", function watchedPrepare(this: unknown, sql: string): unknown {
  const statement = Reflect.apply(prepare as (sql: string) => object, this, [sql]);
  if (!sql.startsWith("VACUUM INTO")) return statement;
  const run: unknown = Reflect.get(statement, "run");
  return Object.assign(statement, {
    run(path: string): unknown {
      reached("before backup");
      const result: unknown = Reflect.apply(run as (path: string) => unknown, statement, [path]);
      reached("after backup");
      return result;
    },
  });
});
