/** Faults.md R1-R4: one download feeds everybody, whoever comes late, leaves or is slow. */
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Hubcap } from "../support/hubcap.ts";
import { endingsOf, whole } from "./reader.ts";
import { openHouse, type House } from "./reliabilityHouse.ts";

const mib = 1024 * 1024;
const memoryAllowed = 150 * mib;

let house: House;

beforeAll(async () => {
  house = await openHouse();
});
afterEach(() => {
  house.hub.faults.clear();
  house.hub.counts.reset();
});
afterAll(() => house.close());

/** The most resident bytes that Hubcap has while `work` goes on. */
async function peakDuring<T>(hubcap: Hubcap, work: Promise<T>): Promise<{ result: T; peak: number }> {
  let peak = 0;
  let running = true;
  const watching = (async () => {
    while (running) {
      peak = Math.max(peak, await hubcap.residentBytes());
      await wait(25);
    }
  })();
  const result = await work.finally(() => (running = false));
  await watching;
  return { result, peak };
}

describe("one download feeds everybody", () => {
  it("R1 100 clients pull the same uncached 256 MiB blob: one GET upstream, flat memory", async () => {
    const pushed = await house.pushLayer("library/large", 256 * mib);
    const base = await house.hubcap.residentBytes();
    const readers = Array.from({ length: 100 }, () => house.read(pushed));
    const { result, peak } = await peakDuring(house.hubcap, endingsOf(readers));
    expect(result).toEqual([whole(pushed.bytes)]);
    expect(house.hub.counts.blobGets.total).toBe(1);
    expect(house.hub.counts.cdnGets.total).toBe(1);
    console.log(`RSS ${(base / mib).toFixed(0)} -> ${(peak / mib).toFixed(0)}`);
    expect(peak - base).toBeLessThan(memoryAllowed);
  }, 60_000);
});
