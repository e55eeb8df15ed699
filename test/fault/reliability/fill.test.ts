/** Cases R1 to R4: one download serves all clients: those that come late, leave or are slow, too. */
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { endingsOf, whole } from "../../support/reader.ts";
import { openSetup, type Setup } from "../../support/setup.ts";

const mib = 1024 * 1024;

/** What Hubcap may grow by: far less than a large blob, or than what slow readers have not taken yet. */
const growthAllowed = 150 * mib;

let setup: Setup;

beforeAll(async () => {
  setup = await openSetup();
});
afterEach(() => {
  setup.hub.faults.clear();
  setup.hub.counts.reset();
});
afterAll(() => setup.close());

/**
 * What comes of `work`, and by how many resident bytes Hubcap is larger than before for at least half of the time:
 * what the C library has not given back yet makes for peaks that tell nothing.
 */
async function growthDuring<T>(work: () => Promise<T>): Promise<{ result: T; growth: number }> {
  const base = await setup.hubcap.residentBytes();
  const over = new AbortController();
  const watching = (async () => {
    const sizes: number[] = [];
    while (!over.signal.aborted) {
      sizes.push(await setup.hubcap.residentBytes());
      await wait(25);
    }
    return sizes.toSorted((a, b) => a - b)[Math.floor(sizes.length / 2)] ?? Number.NaN;
  })();
  const result = await work().finally(() => over.abort());
  return { result, growth: (await watching) - base };
}

describe("a fill", () => {
  it("R1 brings 256 MiB to 100 clients with one request upstream and without keeping them in memory", async () => {
    const pushed = await setup.pushLayer("library/large", 256 * mib);
    const { result, growth } = await growthDuring(() =>
      endingsOf(Array.from({ length: 100 }, () => setup.read(pushed))),
    );
    expect(result).toEqual([whole(pushed.bytes)]);
    expect(setup.hub.counts.blobGets.total).toBe(1);
    expect(setup.hub.counts.cdnGets.total).toBe(1);
    expect(growth).toBeLessThan(growthAllowed);
  });

  it("R2 goes on for 99 clients when the first one leaves at 10 %", async () => {
    const pushed = await setup.pushLayer("library/left-by-one", 8 * mib);
    const half = setup.hub.fault({ origin: "cdn", asks: "blob", kind: "stall", after: 4 * mib });
    const first = setup.read(pushed);
    await first.reached(0.8 * mib);
    const others = Array.from({ length: 99 }, () => setup.read(pushed));
    await Promise.all(others.map((reader) => reader.reached(1)));
    first.leave();
    await setup.hubcap.logged((line) => line["reference"] === pushed.layer.digest && line["cut"] === true);
    half.release();
    expect(await endingsOf(others)).toEqual([whole(pushed.bytes)]);
    expect(setup.hub.counts.cdnGets.total).toBe(1);
  });

  it("R3 goes on when everybody has left at 50 %, and the next pull is a hit", async () => {
    const pushed = await setup.pushLayer("library/left-by-all", 8 * mib);
    // A blob that no manifest names is not downloaded for no one.
    await setup.name(pushed);
    const half = setup.hub.fault({ origin: "cdn", asks: "blob", kind: "stall", after: 4 * mib });
    const readers = Array.from({ length: 20 }, () => setup.read(pushed));
    await Promise.all(readers.map((reader) => reader.reached(3 * mib)));
    for (const reader of readers) reader.leave();
    const cut = (): number => setup.pulls(pushed).filter((line) => line["cut"] === true).length;
    await expect.poll(cut).toBe(20);
    half.release();
    await setup.held(pushed);
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    expect((await setup.outcomes(pushed, 21)).at(-1)).toBe("hit");
    expect(setup.hub.counts.cdnGets.total).toBe(1);
  });

  it("R4 keeps its pace for 50 clients while 20 others take 10 KB/s, and keeps nothing in memory for those", async () => {
    const pushed = await setup.pushLayer("library/slow", 64 * mib);
    const slow = Array.from({ length: 20 }, () => setup.read(pushed, { bytesPerSecond: 10_000 }));
    await Promise.all(slow.map((reader) => reader.reached(1)));
    const { result, growth } = await growthDuring(() =>
      endingsOf(Array.from({ length: 50 }, () => setup.read(pushed))),
    );
    expect(result).toEqual([whole(pushed.bytes)]);
    // They would need an hour and three quarters.
    expect(Math.max(...slow.map(({ received }) => received))).toBeLessThan(4 * mib);
    expect(growth).toBeLessThan(growthAllowed);
    expect(setup.hub.counts.cdnGets.total).toBe(1);
    for (const reader of slow) reader.leave();
  });
});
