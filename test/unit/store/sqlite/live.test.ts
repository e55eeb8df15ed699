import { mkdtemp, open, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { beforeEach, describe, expect, it } from "vitest";
import { digestOf } from "../../../../src/oci/digest.ts";
import { parsePattern } from "../../../../src/oci/pattern.ts";
import { ledgerTables } from "../../../../src/store/sqlite/ledgerTables.ts";
import { SqliteLedger } from "../../../../src/store/sqlite/ledger.ts";
import { SqliteCatalog } from "../../../../src/store/sqlite/catalog.ts";
import { LiveDatabase } from "../../../../src/store/sqlite/live.ts";
import { Pins } from "../../../../src/store/evict/pins.ts";
import { SqlitePins } from "../../../../src/store/sqlite/state.ts";

const pinTable = { prefix: "pin", version: "pin" };

let folder: string;
let path: string;
let replaced: string[];
const start = Date.now();

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hubcap-live-"));
  path = join(folder, "catalog.sqlite");
  replaced = [];
});

function openLive(): LiveDatabase {
  const into = replaced;
  return new LiveDatabase(path, {
    keep: [ledgerTables, pinTable],
    replaced: (aside) => void into.push(aside),
  });
}

async function spend(database: LiveDatabase, count: number): Promise<void> {
  const ledger = database.over((handle) => new SqliteLedger(handle));
  const who = {
    upstream: "docker.io",
    repository: "r",
    client: "c",
    userAgent: "u",
    reason: "pull",
  } as const;
  for (let n = 0; n < count; n++)
    await ledger.spend({ ...who, bucket: "hub", at: start, time: start, cost: 1 });
}

/** Overwrites the pages that hold blobs, and no others. */
async function damageBlobs(): Promise<void> {
  const database = new Database(path);
  database.pragma("wal_checkpoint(TRUNCATE)");
  const pages = database
    .prepare("SELECT pageno FROM dbstat WHERE name = 'blob' AND pagetype = 'leaf'")
    .pluck()
    .all() as number[];
  const size = database.pragma("page_size", { simple: true }) as number;
  database.close();
  await using file = await open(path, "r+");
  for (const page of pages) await file.write(Buffer.alloc(size, 0xa5), 0, size, (page - 1) * size);
}

const name = (number: number) => digestOf(Buffer.from(String(number)));

function pinsOf(live: LiveDatabase): Pins {
  return new Pins(
    live.over((handle) => new SqlitePins(handle)),
    [],
    () => start,
  );
}

function fill(live: LiveDatabase, count: number): void {
  const database = live.current();
  const add = database.prepare("INSERT INTO blob VALUES (?, ?, 0)");
  database.transaction(() => {
    for (let number = 0; number < count; number++) add.run(name(number), number);
  })();
}

describe("the database in use", () => {
  it("is set aside when it turns out to be damaged, and the call that met it is answered (R24)", async () => {
    const live = openLive();
    const catalog = live.over((database) => new SqliteCatalog(database));
    // More than is kept in memory, so that it is read from the file again.
    fill(live, 60_000);
    await spend(live, 7);
    await damageBlobs();
    expect(await catalog.blobAnywhere(name(1))).toBeUndefined();
    expect(replaced).toHaveLength(1);
    await catalog.adopt(name(1), 1);
    expect(await catalog.blobAnywhere(name(1))).toBe(1);
    live.close();
    expect(await readdir(folder)).toContain(replaced[0]?.slice(folder.length + 1));
  });

  it("keeps the ledger and the pins of a damaged file, so that nothing is spent twice", async () => {
    const first = openLive();
    fill(first, 1000);
    const pattern = parsePattern("docker.io/library/*");
    if (pattern) await pinsOf(first).add(pattern);
    await spend(first, 7);
    first.close();
    await damageBlobs();
    const second = openLive();
    expect(replaced).toHaveLength(1);
    const ledger = second.over((database) => new SqliteLedger(database));
    expect(await ledger.rowsSince("hub", start)).toHaveLength(7);
    const pins = pinsOf(second);
    await pins.load();
    expect(pins.list()).toHaveLength(1);
    second.close();
  });

  it("starts empty when nothing of a damaged file can be read", async () => {
    await using file = await open(path, "w");
    await file.write(Buffer.alloc(100_000, 0xa5));
    const live = openLive();
    const ledger = live.over((database) => new SqliteLedger(database));
    expect(await ledger.rowsSince("hub", 0)).toEqual([]);
    expect(replaced).toHaveLength(1);
    live.close();
  });

  it("stays closed, since another process may have the file by then", async () => {
    const live = openLive();
    const catalog = live.over((database) => new SqliteCatalog(database));
    live.close();
    await expect(catalog.adopt(name(0), 0)).rejects.toThrow("closed");
    expect(live.current().open).toBe(false);
  });
});
