/** Lists: read and parsed once for all who ask at the same time, and again only when they were asked for anew. */
import { expect, test, vi } from "vitest";
import { systemClock } from "../../../src/async/clock.ts";
import { ListPulls } from "../../../src/mirror/listPull.ts";
import { UpstreamRequests } from "../../../src/mirror/upstreamRequests.ts";
import { memoryStore } from "../../support/memoryStore.ts";
import { pullOf } from "../../support/pullContext.ts";
import { shelf, ShelfUpstream } from "../../support/shelfUpstream.ts";

function setUp() {
  const { catalog } = memoryStore();
  const requests = new UpstreamRequests(new AbortController().signal, systemClock);
  const freshness = { tagTtlMs: 3_600_000, staleIfErrorMs: 3_600_000, lowTtlFactor: 1 };
  const lists = new ListPulls({ catalog, requests, freshness, clock: systemClock });
  const upstream = new ShelfUpstream();
  const keep = (number: number, tags: readonly string[], checkedAt: number): Promise<void> =>
    catalog.keepListing(shelf(number), "tags", { body: JSON.stringify(tags), checkedAt });
  return {
    read: vi.spyOn(catalog, "listing"),
    keep,
    tags: (number: number) => lists.tags(pullOf(upstream, shelf(number))),
  };
}

const many = Array.from({ length: 100_000 }, (_, number) => `1.0.${number}`).toSorted();

test("is parsed once for all who ask at the same time, and for those after them", async () => {
  const { keep, read, tags } = setUp();
  await keep(1, many, Date.now());
  const answers = await Promise.all(Array.from({ length: 100 }, () => tags(1)));
  for (const { items, outcome } of [...answers, await tags(1)]) {
    expect(outcome).toBe("hit");
    expect(items).toHaveLength(many.length);
  }
  expect(read).toHaveBeenCalledTimes(1);
});

test("is parsed anew once it was asked for anew", async () => {
  const { keep, tags } = setUp();
  await keep(1, ["1"], Date.now() - 1000);
  expect((await tags(1)).items).toEqual(["1"]);
  await keep(1, ["1", "2"], Date.now());
  expect((await tags(1)).items).toEqual(["1", "2"]);
});

test("while many lists are parsed, other requests are served in between", async () => {
  const { keep, tags } = setUp();
  for (let number = 0; number < 10; number += 1) await keep(number, many, Date.now());
  const done: number[] = [];
  const all = Array.from({ length: 10 }, async (_, number) => {
    await tags(number);
    done.push(number);
  });
  let [before, most] = [0, 0];
  while (done.length < 10) {
    await new Promise(setImmediate);
    most = Math.max(most, done.length - before);
    before = done.length;
  }
  await Promise.all(all);
  expect(most).toBe(1);
});
