/** Faults.md R1 to R4: one download feeds everybody, whoever comes late, leaves or is slow. */
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { endingsOf, whole } from "../../support/reader.ts";
import { openHouse, type House } from "../../support/setup.ts";

const mib = 1024 * 1024;

/** What Hubcap may grow by: far less than a large blob, or than what slow readers have not taken yet. */
const growthAllowed = 150 * mib;

let house: House;

beforeAll(async () => {
  house = await openHouse();
});
afterEach(() => {
  house.hub.faults.clear();
  house.hub.counts.reset();
});
afterAll(() => house.close());

/**
 * What comes of `work`, and by how many resident bytes Hubcap is larger than before for at least half of the time:
 * what the C library has not given back yet makes for peaks that tell nothing.
 */
async function growthDuring<T>(work: () => Promise<T>): Promise<{ result: T; growth: number }> {
  const base = await house.hubcap.residentBytes();
  const over = new AbortController();
  const watching = (async () => {
    const sizes: number[] = [];
    while (!over.signal.aborted) {
      sizes.push(await house.hubcap.residentBytes());
      await wait(25);
    }
    return sizes.toSorted((a, b) => a - b)[Math.floor(sizes.length / 2)] ?? Number.NaN;
  })();
  const result = await work().finally(() => over.abort());
  return { result, growth: (await watching) - base };
}

describe("a fill", () => {
  it("R1 brings 256 MiB to 100 clients with one request upstream and without keeping them in memory", async () => {
    const pushed = await house.pushLayer("library/large", 256 * mib);
    const { result, growth } = await growthDuring(() =>
      endingsOf(Array.from({ length: 100 }, () => house.read(pushed))),
    );
    expect(result).toEqual([whole(pushed.bytes)]);
    expect(house.hub.counts.blobGets.total).toBe(1);
    expect(house.hub.counts.cdnGets.total).toBe(1);
    expect(growth).toBeLessThan(growthAllowed);
  }, 120_000);

  it("R2 goes on for 99 clients when the first one leaves at 10 %", async () => {
    const pushed = await house.pushLayer("library/left-by-one", 8 * mib);
    const half = house.hub.fault({ origin: "cdn", asks: "blob", kind: "stall", after: 4 * mib });
    const first = house.read(pushed);
    await first.reached(0.8 * mib);
    const others = Array.from({ length: 99 }, () => house.read(pushed));
    await Promise.all(others.map((reader) => reader.reached(1)));
    first.leave();
    await house.hubcap.logged((line) => line["reference"] === pushed.layer.digest && line["cut"] === true);
    half.release();
    expect(await endingsOf(others)).toEqual([whole(pushed.bytes)]);
    expect(house.hub.counts.cdnGets.total).toBe(1);
  });

  it("R3 goes on when everybody has left at 50 %, and the next pull is a hit", async () => {
    const pushed = await house.pushLayer("library/left-by-all", 8 * mib);
    const half = house.hub.fault({ origin: "cdn", asks: "blob", kind: "stall", after: 4 * mib });
    const readers = Array.from({ length: 20 }, () => house.read(pushed));
    await Promise.all(readers.map((reader) => reader.reached(3 * mib)));
    for (const reader of readers) reader.leave();
    const cut = (): number => house.pulls(pushed).filter((line) => line["cut"] === true).length;
    await expect.poll(cut).toBe(20);
    half.release();
    await house.held(pushed);
    expect(await house.read(pushed).ended).toEqual(whole(pushed.bytes));
    expect((await house.outcomes(pushed, 21)).at(-1)).toBe("hit");
    expect(house.hub.counts.cdnGets.total).toBe(1);
  });

  it("R4 keeps its pace for 50 clients while 20 others take 10 KB/s, and keeps nothing in memory for those", async () => {
    const pushed = await house.pushLayer("library/slow", 64 * mib);
    const slow = Array.from({ length: 20 }, () => house.read(pushed, { bytesPerSecond: 10_000 }));
    await Promise.all(slow.map((reader) => reader.reached(1)));
    const { result, growth } = await growthDuring(() =>
      endingsOf(Array.from({ length: 50 }, () => house.read(pushed))),
    );
    expect(result).toEqual([whole(pushed.bytes)]);
    // They would need an hour and three quarters.
    expect(Math.max(...slow.map(({ received }) => received))).toBeLessThan(4 * mib);
    expect(growth).toBeLessThan(growthAllowed);
    expect(house.hub.counts.cdnGets.total).toBe(1);
    for (const reader of slow) reader.leave();
  }, 60_000);
});
