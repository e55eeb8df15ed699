/** A SQLite file in use: what its errors mean, and what happens when it turns out to be damaged. */
import Database from "better-sqlite3";
import { expect, it } from "vitest";
import { StoreUnavailableError } from "../../../../src/store/error.ts";
import { SqliteFile } from "../../../../src/store/sqlite/database.ts";

function errorOf(code: string): Error {
  return new Database.SqliteError("injected", code);
}

function failingOnce(error: Error): <T>(made: T) => T {
  let left = 1;
  return (made) => {
    if (left-- > 0) throw error;
    return made;
  };
}

it.each([
  ["SQLITE_FULL", "full"],
  ["SQLITE_IOERR_WRITE", "failing"],
  ["SQLITE_READONLY_DIRECTORY", "failing"],
  ["SQLITE_CANTOPEN", "failing"],
])("says by %s that the store does not answer, since it is %s", async (code, trouble) => {
  const run = new SqliteFile(new Database(":memory:")).with(() => ({ calls: 0 }));
  await expect(run(failingOnce(errorOf(code)))).rejects.toMatchObject({ trouble });
  await expect(run(failingOnce(errorOf(code)))).rejects.toThrow(StoreUnavailableError);
});

it("repeats the call that met the damage on the database that takes its place", async () => {
  const damages: unknown[] = [];
  const file = new SqliteFile(new Database(":memory:"), (damage) => {
    damages.push(damage);
    return new Database(":memory:");
  });
  let prepared = 0;
  const run = file.with(() => ({ calls: ++prepared * 100 }));
  expect(await run((made) => made.calls)).toBe(100);
  expect(await run(failingOnce(errorOf("SQLITE_CORRUPT_VTAB")))).toEqual({ calls: 200 });
  expect(damages).toHaveLength(1);
});

it("opens the next database later, when there was no space for it at first", async () => {
  let isFull = true;
  const file = new SqliteFile(new Database(":memory:"), () => {
    if (isFull) throw errorOf("SQLITE_FULL");
    return new Database(":memory:");
  });
  const run = file.with((database) => database);
  await expect(run(failingOnce(errorOf("SQLITE_NOTADB")))).rejects.toThrow(StoreUnavailableError);
  await expect(run((database) => database.open)).rejects.toThrow(StoreUnavailableError);
  isFull = false;
  expect(await run((database) => database.open)).toBe(true);
});

it("stays closed, since another process may have the file by then", async () => {
  const file = new SqliteFile(new Database(":memory:"), () => new Database(":memory:"));
  const run = file.with((database) => database);
  file.close();
  await expect(run((database) => database.open)).rejects.toThrow("closed");
});
