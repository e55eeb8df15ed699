import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { openDatabase } from "../../../../src/store/sqlite/database.ts";
import { catalogSchema } from "../../../../src/store/sqlite/schema.ts";

async function path(): Promise<string> {
  return join(await mkdtemp(join(tmpdir(), "hubcap-database-")), "catalog.sqlite");
}

describe("the database", () => {
  it("is brought to the newest schema once, and opened as it is from then on", async () => {
    const file = await path();
    const first = openDatabase(file, catalogSchema);
    const version = first.pragma("user_version", { simple: true });
    first.prepare("INSERT INTO blob VALUES ('sha256:x', 1, 2)").run();
    first.close();
    const second = openDatabase(file, catalogSchema);
    expect(second.pragma("user_version", { simple: true })).toBe(version);
    expect(second.prepare("SELECT size FROM blob").pluck().get()).toBe(1);
    second.close();
  });

  it("writes ahead, with the durability that the catalog is designed for (R25)", async () => {
    const database = openDatabase(await path(), catalogSchema);
    expect(database.pragma("journal_mode", { simple: true })).toBe("wal");
    expect(database.pragma("synchronous", { simple: true })).toBe(1);
    expect(database.pragma("journal_size_limit", { simple: true })).toBe(16 * 1024 * 1024);
    database.close();
  });

  it("refuses a file that a newer Hubcap wrote, and says what to do (R26)", async () => {
    const file = await path();
    const newer = new Database(file);
    newer.pragma("user_version = 1000");
    newer.close();
    expect(() => openDatabase(file, catalogSchema)).toThrow(
      /newer Hubcap \(schema 1000.*start that version again/,
    );
  });
});
