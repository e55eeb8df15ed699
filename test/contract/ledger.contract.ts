/** What every implementation of Ledger must do. */
import { expect, it } from "vitest";
import type { LedgerEntry, Ledger, SavedBucket } from "../../src/quota/ledger.ts";
import { ledgerEntry } from "../support/ledgerEntry.ts";

const hour = 60 * 60 * 1000;
const day = 24 * hour;
/** Some hour of some day on the wall clock. The ledger's clock is another one, and here starts at nought. */
const noon = Date.UTC(2026, 10, 22, 12);

function entry(time: number, more: Partial<LedgerEntry> = {}): LedgerEntry {
  return ledgerEntry(time, { at: noon + time, ...more });
}

const saved: SavedBucket = {
  time: 50,
  at: noon,
  limit: 100,
  windowMs: 6 * hour,
  learntFrom: "headers",
  remaining: 20,
  since: 7,
  observedAt: noon - 5,
  source: "192.0.2.1",
  pausedUntil: 60_050,
  emptyUntil: 3_600_050,
  setAsides: [{ image: "library/nginx@sha256:a", pulls: 1, taken: [], payer: "node-1", until: 60_060 }],
  savedPulls: 3,
  savedBytes: 4096,
};

/** Runs the contract; `make` gives an empty Ledger each time. */
export function ledgerContract(make: () => Promise<Ledger>): void {
  it("knows nothing at first", async () => {
    const ledger = await make();
    expect(await ledger.rowsSince("docker.io", 0)).toEqual([]);
    expect(await ledger.latest("docker.io")).toBeUndefined();
    expect(await ledger.state("docker.io")).toBeUndefined();
    expect(await ledger.spendBy({ by: "client", since: 0 })).toEqual([]);
  });

  it("has an entry from the moment it is written, before anybody knows how it ends", async () => {
    const ledger = await make();
    const id = await ledger.spend(entry(10));
    expect(await ledger.rowsSince("docker.io", 0)).toEqual([
      { id, time: 10, at: noon + 10, cost: 1, outcome: "sent", payer: "127.0.0.1 node-1" },
    ]);
    expect(await ledger.latest("docker.io")).toBe(10);
  });

  it("moves an entry to when it was settled, and to what it cost in the end", async () => {
    const ledger = await make();
    const counted = await ledger.spend(entry(10));
    const limited = await ledger.spend(entry(11));
    await ledger.settle(counted, "counted", 40, 1);
    await ledger.settle(limited, "limited", 41, 0);
    expect(await ledger.rowsSince("docker.io", 0)).toEqual([
      { id: counted, time: 40, at: noon + 10, cost: 1, outcome: "counted", payer: "127.0.0.1 node-1" },
    ]);
    expect(await ledger.latest("docker.io")).toBe(41);
  });

  it("gives a bucket's rows since a time, oldest first, and no other bucket's", async () => {
    const ledger = await make();
    const first = await ledger.spend(entry(30));
    await ledger.spend(entry(31, { bucket: "docker.io cluster" }));
    const second = await ledger.spend(entry(20));
    await ledger.spend(entry(9));
    const ids = (await ledger.rowsSince("docker.io", 20)).map(({ id }) => id);
    expect(ids).toEqual([second, first]);
  });

  it("adds up by the second what need not be known one by one, as young as the youngest of it", async () => {
    const ledger = await make();
    const spendAt = async (time: number, outcome: "counted" | "failed" = "counted"): Promise<number> => {
      const id = await ledger.spend(entry(time));
      await ledger.settle(id, outcome, time, 1);
      return id;
    };
    for (const time of [1000, 1001]) await spendAt(time);
    const second = await spendAt(1999);
    await spendAt(2500, "failed");
    const last = await spendAt(2999);
    const young = [await spendAt(3000), await spendAt(3001)];
    const rows = await ledger.rowsSince("docker.io", 1001, 3000);
    expect(rows).toEqual([
      { id: second, time: 1999, at: noon + 1999, cost: 2, outcome: "counted", payer: null },
      { id: last, time: 2999, at: noon + 2999, cost: 2, outcome: "failed", payer: null },
      { id: young[0], time: 3000, at: noon + 3000, cost: 1, outcome: "counted", payer: "127.0.0.1 node-1" },
      { id: young[1], time: 3001, at: noon + 3001, cost: 1, outcome: "counted", payer: "127.0.0.1 node-1" },
    ]);
  });

  it("settles as failed what a killed process had sent, in its own bucket only", async () => {
    const ledger = await make();
    const done = await ledger.spend(entry(10));
    await ledger.settle(done, "counted", 12, 1);
    const sent = await ledger.spend(entry(11));
    const other = await ledger.spend(entry(11, { bucket: "ghcr.io" }));
    await ledger.recover("docker.io", 90);
    expect(
      (await ledger.rowsSince("docker.io", 0)).map(({ id, time, outcome }) => [id, time, outcome]),
    ).toEqual([
      [done, 12, "counted"],
      [sent, 90, "failed"],
    ]);
    expect((await ledger.rowsSince("ghcr.io", 0)).map(({ id, outcome }) => [id, outcome])).toEqual([
      [other, "sent"],
    ]);
  });

  it("keeps the last state, unknowns included, and its time counts as seen", async () => {
    const ledger = await make();
    await ledger.keep("docker.io", saved);
    expect(await ledger.state("docker.io")).toEqual(saved);
    expect(await ledger.latest("docker.io")).toBe(50);
    const unknown = {
      ...saved,
      limit: undefined,
      remaining: undefined,
      observedAt: undefined,
      source: undefined,
      pausedUntil: undefined,
      emptyUntil: undefined,
    };
    await ledger.keep("docker.io", unknown);
    expect(await ledger.state("docker.io")).toEqual(unknown);
    expect(await ledger.state("ghcr.io")).toBeUndefined();
  });

  it("says who spent what and who was refused, most first", async () => {
    const ledger = await make();
    await ledger.spend(entry(1));
    await ledger.spend(entry(2));
    await ledger.spend(entry(3, { client: "node-2", repository: "library/redis", reason: "warm" }));
    await ledger.spend(entry(4, { client: "node-3", upstream: "ghcr.io", userAgent: "crane" }));
    await ledger.refuse(entry(5, { client: "node-3" }));
    await ledger.refuse(entry(6, { client: "node-4" }));
    expect(await ledger.spendBy({ by: "client", since: noon, upstream: "docker.io" })).toEqual([
      { key: "node-1", spent: 2, refused: 0, lastAt: noon + 2 },
      { key: "node-2", spent: 1, refused: 0, lastAt: noon + 3 },
      { key: "node-3", spent: 0, refused: 1, lastAt: noon + 5 },
      { key: "node-4", spent: 0, refused: 1, lastAt: noon + 6 },
    ]);
    const keys = async (by: "repository" | "userAgent" | "reason") =>
      (await ledger.spendBy({ by, since: noon })).map(({ key, spent }) => [key, spent]);
    expect(await keys("repository")).toEqual([
      ["docker.io/library/nginx", 2],
      ["docker.io/library/redis", 1],
      ["ghcr.io/library/nginx", 1],
    ]);
    expect(await keys("userAgent")).toEqual([
      ["containerd/2.3.4", 3],
      ["crane", 1],
    ]);
    expect(await keys("reason")).toEqual([
      ["pull", 3],
      ["warm", 1],
    ]);
  });

  it("tells how spending went on, by slices, also of what was folded", async () => {
    const ledger = await make();
    const minute = 60_000;
    const spendAt = async (time: number, more: Partial<LedgerEntry> = {}): Promise<void> =>
      ledger.settle(await ledger.spend(entry(time, more)), "counted", time, 1);
    for (const time of [1, 2, 5 * minute, 3 * hour]) await spendAt(time);
    await spendAt(3, { upstream: "ghcr.io", bucket: "ghcr.io" });
    await ledger.refuse(entry(4));
    const course = { upstream: "docker.io", since: noon, stepMs: 5 * minute };
    const before = await ledger.spendOver(course);
    expect(before).toEqual([
      { at: noon, spent: 2 },
      { at: noon + 5 * minute, spent: 1 },
      { at: noon + 3 * hour, spent: 1 },
    ]);
    expect(await ledger.spendOver({ ...course, since: noon + 2 })).toMatchObject([
      { spent: 1 },
      { spent: 1 },
      { spent: 1 },
    ]);
    await ledger.fold("docker.io", hour);
    expect(await ledger.spendOver(course)).toEqual([
      { at: noon, spent: 3 },
      { at: noon + 3 * hour, spent: 1 },
    ]);
  });

  it("leaves out what was spent before the time asked for", async () => {
    const ledger = await make();
    await ledger.spend(entry(1));
    await ledger.spend(entry(2, { client: "node-2" }));
    const rows = await ledger.spendBy({ by: "client", since: noon + 2 });
    expect(rows.map(({ key }) => key)).toEqual(["node-2"]);
  });

  it("says the same of who spent what after folding, and has nothing left for the window", async () => {
    const ledger = await make();
    for (const time of [1, 2, hour + 1])
      await ledger.settle(await ledger.spend(entry(time)), "counted", time, 1);
    await ledger.settle(await ledger.spend(entry(3, { client: "node-2" })), "limited", 3, 0);
    const young = await ledger.spend(entry(day));
    const before = await ledger.spendBy({ by: "client", since: noon });
    expect(await ledger.fold("docker.io", 2 * hour)).toBe(4);
    expect(await ledger.fold("docker.io", 2 * hour)).toBe(0);
    expect((await ledger.rowsSince("docker.io", 0)).map(({ id }) => id)).toEqual([young]);
    expect(await ledger.spendBy({ by: "client", since: noon })).toEqual(before);
    expect(before).toEqual([{ key: "node-1", spent: 4, refused: 0, lastAt: noon + day }]);
    // By the whole hour from here on.
    expect(await ledger.spendBy({ by: "client", since: noon + hour + 5 })).toMatchObject([{ spent: 2 }]);
  });

  it("says the same of a busy hour while it is being folded", async () => {
    const ledger = await make();
    for (let time = 1; time <= 1200; time++)
      await ledger.settle(await ledger.spend(entry(time)), "counted", time, 1);
    const asked = ledger.spendBy({ by: "client", since: noon });
    while ((await ledger.fold("docker.io", 2 * hour)) > 0);
    expect(await asked).toMatchObject([{ key: "node-1", spent: 1200, lastAt: noon + 1200 }]);
  });

  it("tells the same of how spending went on while a busy hour is being folded", async () => {
    const ledger = await make();
    for (let time = 1; time <= 1200; time++)
      await ledger.settle(await ledger.spend(entry(time)), "counted", time, 1);
    const asked = ledger.spendOver({ upstream: "docker.io", since: noon, stepMs: hour });
    while ((await ledger.fold("docker.io", 2 * hour)) > 0);
    expect(await asked).toEqual([{ at: noon, spent: 1200 }]);
  });

  it("never folds what is still under way, nor another bucket's", async () => {
    const ledger = await make();
    await ledger.spend(entry(1));
    const other = await ledger.spend(entry(1, { bucket: "ghcr.io" }));
    await ledger.settle(other, "counted", 1, 1);
    expect(await ledger.fold("docker.io", day)).toBe(0);
    expect(await ledger.rowsSince("ghcr.io", 0)).toHaveLength(1);
  });

  it("never gives a number twice, though rows are folded", async () => {
    const ledger = await make();
    const first = await ledger.spend(entry(1));
    await ledger.settle(first, "counted", 1, 1);
    await ledger.fold("docker.io", day);
    expect(await ledger.spend(entry(2))).toBeGreaterThan(first);
  });

  it("forgets sums by the hour", async () => {
    const ledger = await make();
    await ledger.refuse(entry(0));
    await ledger.refuse(entry(hour));
    await ledger.forget(noon + hour);
    expect(await ledger.spendBy({ by: "client", since: 0 })).toMatchObject([{ key: "node-1", refused: 1 }]);
  });
}
