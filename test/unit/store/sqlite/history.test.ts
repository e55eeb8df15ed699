/** A day of as many pulls as one upstream can be sent: what it costs to start, to pull and to ask. `ROWS=10000000` for all of them. */
import { systemClock } from "../../../../src/async/clock.ts";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { openBucket } from "../../../../src/quota/bucket.ts";
import { SqliteLedger } from "../../../../src/store/sqlite/ledger.ts";
import { openDatabase, SqliteFile } from "../../../../src/store/sqlite/database.ts";
import { ledgerEntry } from "../../../support/ledgerEntry.ts";
import { stateSchema } from "../../../../src/store/sqlite/stateSchema.ts";

const rows = Number(process.env["ROWS"] ?? 60_000);
/** Ten thousand requests a minute are the most that any upstream is sent. */
const everyMs = 6;
const hour = 60 * 60 * 1000;
const upstream = "ghcr.io";

const folder = mkdtempSync(path.join(tmpdir(), "hubcap-history-"));
const database = openDatabase(path.join(folder, "catalog.sqlite"), stateSchema);
afterAll(() => {
  database.close();
  rmSync(folder, { recursive: true });
});

/** How long `work` takes, and for how long it keeps others waiting at most, in ms. */
async function measured<T>(what: string, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  let last = started;
  let longest = 0;
  let isDone = false;
  const turn = (): void => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
    if (!isDone) setImmediate(turn);
  };
  setImmediate(turn);
  const result = await work();
  isDone = true;
  turn();
  const memory = Math.round(process.memoryUsage().rss / 1e6);
  const took = (last - started).toFixed(1);
  process.stdout.write(`${what}: ${took} ms, at most ${longest.toFixed(1)} ms at a time; ${memory} MB\n`);
  return result;
}

function total(of: readonly { readonly spent: number }[]): number {
  return of.reduce((sum, { spent }) => sum + spent, 0);
}

test(`${rows} pulls of one day neither slow a pull nor fill the memory`, { timeout: 600_000 }, async () => {
  const ledger = new SqliteLedger(new SqliteFile(database));
  const end = Date.now();
  const begin = end - rows * everyMs;
  const write = database.transaction((from: number, to: number) => {
    for (let row = from; row < to; row += 1) {
      const client = `node-${row % 1000}`;
      void ledger.spend(ledgerEntry(begin + row * everyMs, { bucket: upstream, upstream, client }));
    }
    database.exec("UPDATE quota_entry SET outcome = 'counted' WHERE outcome = 'sent'");
  });
  for (let row = 0; row < rows; row += 100_000) write(row, Math.min(rows, row + 100_000));

  const before = process.memoryUsage().rss;
  const started = performance.now();
  const options = {
    upstream,
    reserve: 0.1,
    low: 0.3,
    maxWaitMs: 15_000,
    concurrency: 16,
    ledger,
    clock: systemClock,
  };
  const bucket = await measured("opening the bucket", () => openBucket(options));
  // A row for each is five hundred bytes.
  expect(process.memoryUsage().rss - before).toBeLessThan(100e6 + rows * 30);
  const window = Math.min(rows, (6 * hour) / everyMs);
  const { spentInWindow } = await measured("where it stands", async () => bucket.snapshot());
  // The ledger's clock runs on while it is opened, and what is known by the second is a second young.
  const left = rows > window ? Math.ceil((performance.now() - started) / everyMs) : 0;
  expect(spentInWindow).toBeGreaterThanOrEqual(window - left);
  expect(spentInWindow).toBeLessThanOrEqual(window + 1000 / everyMs + 1);

  await measured("a thousand pulls written down and settled", async () => {
    for (let pull = 0; pull < 1000; pull += 1) {
      const id = await ledger.spend(ledgerEntry(end + pull, { bucket: upstream, upstream }));
      await ledger.settle(id, "counted", end + pull, 1);
      await new Promise(setImmediate);
    }
  });
  const clients = await measured("who spent it", () => ledger.spendBy({ by: "client", since: 0 }));
  expect(total(clients)).toBe(rows + 1000);
  const course = { upstream, since: 0, stepMs: 5 * 60_000 };
  expect(total(await measured("how spending went on", () => ledger.spendOver(course)))).toBe(rows + 1000);
});
