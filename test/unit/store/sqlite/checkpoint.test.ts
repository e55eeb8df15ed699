import { copyFile, mkdtemp, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, it } from "vitest";
import { Checkpointer } from "../../../../src/store/sqlite/checkpoint.ts";
import { logLimit, openDatabase } from "../../../../src/store/sqlite/database.ts";
import { catalogSchema } from "../../../../src/store/sqlite/schema.ts";

/** The subjects that lie in the file itself: only those are in a copy of it without its log. */
async function inFile(path: string): Promise<unknown[]> {
  await copyFile(path, `${path}-copy`);
  const copy = new Database(`${path}-copy`);
  const subjects = copy.prepare("SELECT subject FROM listing").pluck().all();
  copy.close();
  return subjects;
}

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
  const checkpointer = new Checkpointer([path]);
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
  const checkpointer = new Checkpointer([path]);
  expect(checkpointer.awake).toBe(false);
  add.run("first");
  await checkpointer.run();
  expect([checkpointer.awake, (await inFile(path)).length]).toEqual([true, 1]);
  // More may have been written in the same second, so it is looked at once more.
  await checkpointer.run(Date.now() + 10_000);
  expect(checkpointer.awake).toBe(true);
  await checkpointer.run(Date.now() + 20_000);
  expect(checkpointer.awake).toBe(false);
  add.run("second");
  await checkpointer.run();
  expect([checkpointer.awake, (await inFile(path)).length]).toEqual([true, 2]);
  await checkpointer.close();
  database.close();
});

it("brings in what was written to either of two databases, and to no other by mistake", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-checkpoint-"));
  const paths = ["one.sqlite", "other.sqlite"].map((name) => join(folder, name));
  const databases = paths.map((path) => openDatabase(path, catalogSchema));
  for (const [index, database] of databases.entries())
    database.prepare("INSERT INTO listing VALUES ('u', 'r', ?, '', 1)").run(String(index));
  const checkpointer = new Checkpointer(paths);
  await checkpointer.run();
  expect(await Promise.all(paths.map(inFile))).toEqual([["0"], ["1"]]);
  await checkpointer.close();
  for (const database of databases) database.close();
});
