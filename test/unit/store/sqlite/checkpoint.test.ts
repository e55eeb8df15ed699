import { copyFile, mkdtemp, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, it } from "vitest";
import { Checkpointer } from "../../../../src/store/sqlite/checkpoint.ts";
import { logLimit, openDatabase } from "../../../../src/store/sqlite/database.ts";
import { catalogSchema } from "../../../../src/store/sqlite/schema.ts";

it("cuts the log back to what it may be once a long read elsewhere is over (R25)", async () => {
  const path = join(await mkdtemp(join(tmpdir(), "hubcap-checkpoint-")), "catalog.sqlite");
  const database = openDatabase(path, catalogSchema);
  const logged = async (): Promise<number> => (await stat(`${path}-wal`)).size;
  const add = database.prepare("INSERT INTO listing VALUES ('u', 'r', ?, ?, 1)");
  add.run("first", "");
  const reader = new Database(path, { readonly: true });
  reader.exec("BEGIN");
  reader.prepare("SELECT * FROM listing").all();
  for (let number = 0; (await logged()) <= logLimit; number++) add.run(String(number), "x".repeat(500_000));
  const checkpointer = new Checkpointer(path);
  await checkpointer.run();
  expect(await logged()).toBeGreaterThan(logLimit);
  reader.close();
  await checkpointer.run();
  expect(await logged()).toBe(0);
  await checkpointer.close();
  database.close();
});

it("keeps no thread while nothing is written", async () => {
  const path = join(await mkdtemp(join(tmpdir(), "hubcap-checkpoint-")), "catalog.sqlite");
  const database = openDatabase(path, catalogSchema);
  const add = database.prepare("INSERT INTO listing VALUES ('u', 'r', ?, '', 1)");
  const inFile = async (): Promise<number> => {
    // Only what was brought into the file itself is in a copy of it without its log.
    await copyFile(path, `${path}-copy`);
    const copy = new Database(`${path}-copy`);
    const { count } = copy.prepare("SELECT count(*) AS count FROM listing").get() as { count: number };
    copy.close();
    return count;
  };
  const checkpointer = new Checkpointer(path);
  expect(checkpointer.awake).toBe(false);
  add.run("first");
  await checkpointer.run();
  expect([checkpointer.awake, await inFile()]).toEqual([true, 1]);
  // More may have been written in the same second, so it is looked at once more.
  await checkpointer.run(Date.now() + 10_000);
  expect(checkpointer.awake).toBe(true);
  await checkpointer.run(Date.now() + 20_000);
  expect(checkpointer.awake).toBe(false);
  add.run("second");
  await checkpointer.run();
  expect([checkpointer.awake, await inFile()]).toEqual([true, 2]);
  await checkpointer.close();
  database.close();
});
