import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import Database from "better-sqlite3";
import { afterAll, describe, expect, test } from "vitest";
import type { LedgerEntry } from "../../../../src/quota/ledger.ts";
import { LedgerError } from "../../../../src/store/sqlite/ledgerTables.ts";
import { SqliteLedger } from "../../../../src/store/sqlite/ledger.ts";
import { openDatabase, SqliteFile } from "../../../../src/store/sqlite/database.ts";
import { ledgerEntry } from "../../../support/ledgerEntry.ts";
import { stateSchema } from "../../../../src/store/sqlite/stateSchema.ts";

const folder = mkdtempSync(path.join(tmpdir(), "hubcap-ledger-"));
afterAll(() => rmSync(folder, { recursive: true }));

const hour = 60 * 60 * 1000;

/** How often others had their turn while `work` was done. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  let isDone = false;
  const turn = (): void => {
    turns += 1;
    if (!isDone) setImmediate(turn);
  };
  setImmediate(turn);
  await work();
  isDone = true;
  return turns;
}

/** A state's file in memory; `run` is given every statement. */
function verboseState(run: string[]): Database.Database {
  const database = new Database(":memory:", { verbose: (sql) => void run.push(String(sql)) });
  for (const step of stateSchema.steps) database.exec(step);
  stateSchema.finish?.(database);
  run.length = 0;
  return database;
}

describe("the ledger's file", () => {
  test("is the state's, and each minds its own version", async () => {
    const file = path.join(folder, "shared.sqlite");
    const first = openDatabase(file, stateSchema);
    const id = await new SqliteLedger(new SqliteFile(first)).spend(ledgerEntry(1));
    first.close();
    const second = openDatabase(file, stateSchema);
    expect(await new SqliteLedger(new SqliteFile(second)).rowsSince("docker.io", 0)).toMatchObject([
      { id, outcome: "sent" },
    ]);
    second.close();
  });

  test("is refused when a newer Hubcap wrote it, and left as it is", () => {
    const file = path.join(folder, "newer.sqlite");
    const first = openDatabase(file, stateSchema);
    first.exec("UPDATE quota_version SET version = 99");
    first.close();
    expect(() => openDatabase(file, stateSchema)).toThrow(LedgerError);
    expect(() => openDatabase(file, stateSchema)).toThrow(/version 99.*start that version again/);
    const database = new Database(file);
    expect(database.prepare("SELECT version FROM quota_version").pluck().get()).toBe(99);
    database.close();
  });

  test("is brought on from the first version with what it knows", async () => {
    const file = path.join(folder, "first.sqlite");
    const database = openDatabase(file, stateSchema);
    const saved = {
      time: 1,
      at: 2,
      limit: 100,
      windowMs: 6 * hour,
      learntFrom: "headers",
      remaining: 20,
    } as const;
    const more = {
      since: 7,
      observedAt: 2,
      source: "192.0.2.1",
      savedPulls: 3,
      savedBytes: 4,
      setAsides: [],
    };
    const unknown = { pausedUntil: undefined, emptyUntil: undefined };
    await new SqliteLedger(new SqliteFile(database)).keep("docker.io", { ...saved, ...more, ...unknown });
    database.exec(`ALTER TABLE quota_standing DROP COLUMN paused_until;
      ALTER TABLE quota_standing DROP COLUMN empty_until;
      ALTER TABLE quota_entry DROP COLUMN payer;
      ALTER TABLE quota_standing DROP COLUMN set_asides;
      UPDATE quota_version SET version = 1`);
    database.close();
    const after = new SqliteFile(openDatabase(file, stateSchema));
    const read = await new SqliteLedger(after).state("docker.io");
    after.close();
    expect(read).toEqual({ ...saved, ...more, ...unknown });
  });

  test("has every entry whose number was given out, when the process is killed right after", async () => {
    const file = path.join(folder, "killed.sqlite");
    const script = `
      import { openDatabase } from ${JSON.stringify(path.resolve("src/store/sqlite/database.ts"))};
      import { SqliteFile } from ${JSON.stringify(path.resolve("src/store/sqlite/database.ts"))};
      import { stateSchema } from ${JSON.stringify(path.resolve("src/store/sqlite/stateSchema.ts"))};
      import { SqliteLedger } from ${JSON.stringify(path.resolve("src/store/sqlite/ledger.ts"))};
      const ledger = new SqliteLedger(new SqliteFile(openDatabase(${JSON.stringify(file)}, stateSchema)));
      for (;;) {
        const id = await ledger.spend(${JSON.stringify(ledgerEntry(1))});
        if (!process.stdout.write(id + "\\n")) await new Promise((resolve) => process.stdout.once("drain", resolve));
      }`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let printed = "";
    for await (const chunk of child.stdout) {
      printed += String(chunk);
      if (printed.length > 2000) break;
    }
    child.kill("SIGKILL");
    await once(child, "exit");
    const last = Number(printed.split("\n").at(-2));
    const database = openDatabase(file, stateSchema);
    const rows = await new SqliteLedger(new SqliteFile(database)).rowsSince("docker.io", 0);
    expect(rows.length).toBeGreaterThanOrEqual(last);
    database.close();
  });
});

test("an entry that must last is synced to the disk, and no other", async () => {
  const run: string[] = [];
  const ledger = new SqliteLedger(new SqliteFile(verboseState(run)));
  run.length = 0;
  await ledger.spend(ledgerEntry(1));
  await ledger.spend(ledgerEntry(2), true);
  await ledger.spend(ledgerEntry(3));
  const said = run.map((sql) => (sql.startsWith("INSERT") ? "INSERT" : sql));
  const synced = ["PRAGMA synchronous = FULL", "INSERT", "PRAGMA synchronous = NORMAL"];
  expect(said).toEqual(["INSERT", ...synced, "INSERT"]);
});

describe("a long history", () => {
  /** Every statement that the ledger runs, as it was run. */
  const run: string[] = [];
  const database = verboseState(run);
  const ledger = new SqliteLedger(new SqliteFile(database));
  const rows = 200_000;

  function fill(): void {
    database.transaction(() => {
      const insert = database.prepare<[LedgerEntry]>(
        `INSERT INTO quota_entry (bucket, time, at, cost, outcome, upstream, repository, client, user_agent, reason)
         VALUES (@bucket, @time, @at, @cost, 'counted', @upstream, @repository, @client, @userAgent, @reason)`,
      );
      for (let row = 0; row < rows; row += 1)
        insert.run(ledgerEntry(row * 1000, { client: `node-${row % 500}` }));
    })();
  }

  function count(table: string): unknown {
    return database.prepare(`SELECT count(*) FROM ${table}`).pluck().get();
  }

  function planOf(sql: string): string {
    const steps = database.prepare<[], { detail: string }>(`EXPLAIN QUERY PLAN ${sql}`).all();
    return steps.map(({ detail }) => detail).join("; ");
  }

  test("is never read as a whole for a pull, nor for opening a bucket", async () => {
    fill();
    run.length = 0;
    const id = await ledger.spend(ledgerEntry(rows * 1000));
    await ledger.settle(id, "counted", rows * 1000, 1);
    await ledger.latest("docker.io");
    await ledger.recover("docker.io", rows * 1000);
    const window = await ledger.rowsSince("docker.io", rows * 1000 - 6 * hour);
    expect(window).toHaveLength(6 * 3600 + 1);
    expect(run).toHaveLength(5);
    for (const sql of run.splice(0)) {
      if (sql.startsWith("INSERT")) continue;
      expect(planOf(sql)).not.toMatch(/SCAN quota_entry/);
    }
  });

  test("is folded in batches, and what is left does not grow with it", async () => {
    let folded = 0;
    for (let batch; (batch = await ledger.fold("docker.io", (rows - 100) * 1000)) > 0; folded += batch) {
      expect(batch).toBeLessThanOrEqual(500);
    }
    expect(folded).toBe(rows - 100);
    expect(count("quota_entry")).toBe(101);
    // 500 nodes in each of 56 hours.
    expect(count("quota_hour")).toBe(56 * 500);
    const bySpender = await ledger.spendBy({ by: "reason", since: 0 });
    expect(bySpender).toMatchObject([{ key: "pull", spent: rows + 1 }]);
  });

  test("is summed an hour at a time, and others have their turn between two hours", async () => {
    run.length = 0;
    const turns = await turnsDuring(() => ledger.spendBy({ by: "client", since: 0 }));
    expect(turns).toBeGreaterThanOrEqual(56);
    expect(run.length).toBeGreaterThanOrEqual(56);
    for (const sql of new Set(run.splice(0))) expect(planOf(sql)).not.toMatch(/SCAN quota_/);
  });

  test("folding reads only what it folds", async () => {
    run.length = 0;
    await ledger.fold("docker.io", rows * 1000);
    const reads = run.filter((sql) => /^(?:SELECT|DELETE)/.test(sql));
    expect(reads.length).toBeGreaterThan(0);
    for (const sql of reads) expect(planOf(sql)).not.toMatch(/SCAN quota_/);
  });
});

describe("a busy hour", () => {
  const run: string[] = [];
  const database = verboseState(run);
  const ledger = new SqliteLedger(new SqliteFile(database));
  const rows = 20_000;
  database.transaction(() => {
    for (let row = 0; row < rows; row += 1) void ledger.spend(ledgerEntry(row * 100));
    database.exec("UPDATE quota_entry SET outcome = 'counted'");
  })();

  test.each([
    ["by client", () => ledger.spendBy({ by: "client", since: 0 })],
    ["over time", () => ledger.spendOver({ upstream: "docker.io", since: 0, stepMs: hour })],
  ])("is summed %s some entries at a time, and others have their turn meanwhile", async (_, sum) => {
    let summed: unknown;
    const turns = await turnsDuring(async () => void (summed = await sum()));
    expect(turns).toBeGreaterThanOrEqual(rows / 500);
    expect(summed).toMatchObject([{ spent: rows }]);
  });

  test("is summed once, though other hours are folded meanwhile", async () => {
    const now = ledgerEntry(5 * hour);
    await ledger.settle(await ledger.spend(now), "counted", 5 * hour, 1);
    run.length = 0;
    const asked = ledger.spendBy({ by: "client", since: 4 * hour });
    while ((await ledger.fold("docker.io", 2 * hour)) > 0) await new Promise(setImmediate);
    expect(await asked).toMatchObject([{ spent: 1 }]);
    const sums = run.filter((sql) => /FROM quota_hour WHERE hour/.test(sql) && /GROUP BY key/.test(sql));
    expect(sums).toHaveLength(1);
  });
});

test("what is folded while it is summed counts once", async () => {
  const ledger = new SqliteLedger(SqliteFile.inMemory(stateSchema));
  for (const time of [0, hour, 2 * hour, 3 * hour]) {
    await ledger.settle(await ledger.spend(ledgerEntry(time)), "counted", time, 1);
  }
  const sums = ledger.spendBy({ by: "client", since: 0 });
  await ledger.fold("docker.io", 4 * hour);
  expect(await sums).toMatchObject([{ spent: 4 }]);
});

describe("what clients can make it write", () => {
  test("is bounded: beyond two thousand spenders in an hour the rest are one", async () => {
    const ledger = new SqliteLedger(SqliteFile.inMemory(stateSchema));
    for (let client = 0; client < 2500; client += 1) {
      await ledger.refuse(ledgerEntry(5, { userAgent: `agent-${client}`, repository: `library/${client}` }));
    }
    await ledger.refuse(ledgerEntry(6, { userAgent: "agent-7", repository: "library/7" }));
    const agents = await ledger.spendBy({ by: "userAgent", since: 0 });
    expect(agents.slice(0, 2)).toMatchObject([
      { key: "(others)", refused: 500 },
      { key: "agent-7", refused: 2 },
    ]);
    expect(await ledger.spendBy({ by: "reason", since: 0 })).toMatchObject([{ refused: 2501 }]);
  });
});
