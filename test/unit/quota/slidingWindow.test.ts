import { describe, expect, test } from "vitest";
import type { WindowRow } from "../../../src/quota/windowRows.ts";
import { SlidingWindow, type Settlement } from "../../../src/quota/slidingWindow.ts";

const windowMs = 60_000;

function windowOf(limit = 10): SlidingWindow {
  return new SlidingWindow({ limit, windowMs });
}

/** A pull that is sent, and answered later without saying what is left. */
function spend(
  window: SlidingWindow,
  sentAt: number,
  answeredAt = sentAt,
  fate: Settlement = "counted",
): void {
  window.settle(window.send(1, sentAt), fate, answeredAt);
}

/** The answer to `row`, which says what is left. */
function answer(window: SlidingWindow, row: WindowRow, remaining: number, now: number): void {
  window.settle(row, "counted", now);
  window.observe(row, remaining, now);
}

/** A request that costs nothing, and its answer. */
function ask(window: SlidingWindow, remaining: number, now: number): void {
  answer(window, window.send(0, now), remaining, now);
}

function carried(id: number, settledAt: number) {
  return { id, cost: 1, settledAt, expectedAt: settledAt, counted: true };
}

describe("what was spent", () => {
  test("counts from before it is sent until a window after its answer, to the millisecond", () => {
    const window = windowOf(1);
    const row = window.send(1, 1000);
    expect(window.tokens(1000)).toBe(0);
    // In flight it does not age: the upstream may count it as late as this.
    expect(window.tokens(1000 + 5 * windowMs)).toBe(0);
    window.settle(row, "counted", 400_000);
    expect(window.tokens(400_000 + windowMs)).toBe(0);
    expect(window.tokens(400_000 + windowMs + 1)).toBe(1);
  });

  test("counts in doubt, and does not where the upstream surely did not count", () => {
    const window = windowOf(10);
    spend(window, 0, 0, "doubtful");
    spend(window, 0, 0, "free");
    expect(window.tokens(0)).toBe(9);
    expect(window.spent(0)).toBe(1);
  });

  test("is not limited where there is no limit, but still counted", () => {
    const window = new SlidingWindow({ limit: undefined, windowMs });
    for (let pull = 0; pull < 5; pull += 1) spend(window, 0);
    expect(window.tokens(0)).toBe(Number.POSITIVE_INFINITY);
    expect(window.spent(0)).toBe(5);
    expect(window.spent(windowMs + 1)).toBe(0);
  });

  test("counts again when the window turns out longer", () => {
    const window = windowOf(10);
    spend(window, 0);
    expect(window.tokens(windowMs + 1)).toBe(10);
    window.allowance = { limit: 10, windowMs: 10 * windowMs };
    expect(window.tokens(windowMs + 1)).toBe(9);
    expect(window.tokens(10 * windowMs + 1)).toBe(10);
  });

  test("stays exact over more rows than are kept in memory", () => {
    const window = new SlidingWindow({ limit: 100_000, windowMs }, 0);
    for (let pull = 0; pull < 5000; pull += 1) spend(window, pull * 100);
    // Of one pull each tenth of a second, 601 are no older than a minute.
    expect(window.spent(499_900)).toBe(601);
    expect(window.view(499_900).rows.length).toBeLessThan(2000);
  });
});

describe("a long history", () => {
  test("without a limit takes no more space than the seconds that it lasted", () => {
    const window = new SlidingWindow({ limit: undefined, windowMs });
    for (let pull = 0; pull < 5000; pull += 1) spend(window, pull * 4);
    expect(window.view(20_000).rows.length).toBeLessThanOrEqual(21);
    expect(window.spent(20_000)).toBe(5000);
    // Those of a second leave with the youngest of them, never before.
    expect(window.spent(996 + windowMs)).toBe(5000);
    expect(window.spent(997 + windowMs)).toBe(4750);
    expect(window.spent(20_000 + windowMs)).toBe(0);
  });

  test("that has left the window is counted again when the window turns out longer, by the second", () => {
    const window = new SlidingWindow({ limit: 100_000, windowMs });
    for (let pull = 0; pull < 50_000; pull += 1) spend(window, pull * 100);
    const now = 50_000 * 100;
    expect(window.spent(now)).toBe(600);
    window.allowance = { limit: 100_000, windowMs: 10_000_000 };
    expect(window.spent(now)).toBe(50_000);
    // What was in the window is still known one by one.
    expect(window.view(now).rows.length).toBeLessThan(5000 + 1600);
  });

  test("does not make the forecast read what no longer matters", () => {
    const window = new SlidingWindow({ limit: 100_000, windowMs });
    for (let pull = 0; pull < 100_000; pull += 1) spend(window, pull * 100);
    // An hour by the second, and the window with what has left it lately one by one.
    expect(window.view(100_000 * 100).rows.length).toBeLessThan(3600 + 1600);
  });
});

describe("what the upstream says is left", () => {
  test("is less than we calculate when others spend, and is believed at once", () => {
    const window = windowOf(10);
    spend(window, 0);
    ask(window, 3, 10);
    expect(window.tokens(10)).toBe(3);
  });

  test("is not believed when it is more than we calculate", () => {
    const window = windowOf(10);
    for (let pull = 0; pull < 6; pull += 1) spend(window, 0);
    ask(window, 9, 10);
    expect(window.tokens(10)).toBe(4);
  });

  test("is less what was sent since, and what is in flight, counted by then or not", () => {
    const window = windowOf(100);
    const early = window.send(1, 0);
    ask(window, 10, 1);
    expect(window.tokens(1)).toBe(9);
    const late = window.send(1, 2);
    expect(window.tokens(2)).toBe(8);
    window.settle(early, "counted", 3);
    window.settle(late, "counted", 3);
    expect(window.tokens(3)).toBe(8);
    ask(window, 9, 4);
    expect(window.tokens(4)).toBe(9);
  });

  test("of answers that overtook each other, the smallest counts", () => {
    const window = windowOf(100);
    const [one, other] = [window.send(1, 0), window.send(1, 0)];
    answer(window, other, 5, 10);
    answer(window, one, 6, 20);
    expect(window.tokens(20)).toBe(5);
    // A request sent after both were answered is surely newer.
    ask(window, 8, 30);
    expect(window.tokens(30)).toBe(8);
  });

  test("of answers that overtook each other, the smaller limit holds", () => {
    const window = windowOf(100);
    const [one, other] = [window.send(0, 0), window.send(0, 0)];
    window.allowance = { limit: 5, windowMs };
    answer(window, other, 5, 10);
    window.allowance = { limit: 100, windowMs };
    answer(window, one, 100, 20);
    expect(window.allowance.limit).toBe(5);
    expect(window.tokens(20)).toBe(5);
  });

  test("does not cover a pull that ended without one, until a later request is answered", () => {
    const window = windowOf(100);
    const asked = window.send(0, 0);
    const lost = window.send(1, 1);
    window.settle(lost, "doubtful", 2);
    answer(window, asked, 10, 3);
    // The pull may have reached the upstream after the HEAD did.
    expect(window.tokens(3)).toBe(9);
    ask(window, 10, 4);
    expect(window.tokens(4)).toBe(10);
  });

  test("says nothing any more after a window", () => {
    const window = windowOf(10);
    ask(window, 0, 1000);
    expect(window.tokens(1000 + windowMs)).toBe(0);
    expect(window.tokens(1000 + windowMs + 1)).toBe(10);
  });
});

describe("what comes back to what the upstream said", () => {
  test("is what it had counted and what leaves the window afterwards", () => {
    const window = windowOf(10);
    answer(window, window.send(1, 0), 4, 100);
    ask(window, 4, 50_000);
    expect(window.tokens(100 + windowMs)).toBe(4);
    expect(window.tokens(100 + windowMs + 1)).toBe(5);
  });

  test("is not what may have come back before it answered", () => {
    const window = windowOf(10);
    // Sent at 0 and answered at 50 s: it may have expired at the upstream at 60 s, before the next request.
    answer(window, window.send(1, 0), 4, 50_000);
    ask(window, 5, 61_000);
    expect(window.tokens(110_001)).toBe(5);
  });

  test("is not what it may never have counted", () => {
    const window = windowOf(10);
    spend(window, 0, 0, "doubtful");
    ask(window, 4, 10);
    expect(window.tokens(windowMs + 1)).toBe(4);
  });

  test("is not counted twice for a pull that it did not cover", () => {
    const window = windowOf(100);
    const asked = window.send(0, 0);
    spend(window, 1);
    answer(window, asked, 4, 30_000);
    expect(window.tokens(30_000)).toBe(3);
    expect(window.tokens(1 + windowMs + 1)).toBe(4);
  });

  test("is nothing while more may be counted than a lowered limit allows", () => {
    const window = windowOf(10);
    answer(window, window.send(1, 0), 9, 0);
    // Others spend nine, then the limit falls to two: eight over, but all the upstream can say is 0.
    window.allowance = { limit: 2, windowMs };
    ask(window, 0, 50_000);
    expect(window.tokens(windowMs + 1)).toBe(0);
    ask(window, 1, 62_000);
    answer(window, window.send(1, 62_000), 0, 62_000);
    ask(window, 0, 63_000);
    expect(window.tokens(62_000 + windowMs + 1)).toBe(1);
  });
});

describe("after a restart", () => {
  test("rows count as if no time had gone by, and what was said with them", () => {
    const window = windowOf(10);
    window.carry([carried(1, 0), carried(2, 30_000)], {
      remaining: 5,
      since: 3,
      settledAt: 30_000,
      expectedAt: 30_000,
    });
    expect(window.tokens(30_000)).toBe(5);
    expect(window.spent(30_000)).toBe(2);
    expect(window.tokens(30_001 + windowMs)).toBe(10);
  });

  test("pulls that the saved answer may not cover are deducted from it", () => {
    const window = windowOf(10);
    window.carry([carried(1, 0), carried(7, 10), carried(8, 20)], {
      remaining: 5,
      since: 7,
      settledAt: 30_000,
      expectedAt: 30_000,
    });
    expect(window.tokens(30_000)).toBe(3);
  });

  test("the upstream's answer corrects for time that the clock stood still", () => {
    const window = windowOf(10);
    window.carry([carried(1, 0), carried(2, 10), carried(3, 20)]);
    expect(window.tokens(30)).toBe(7);
    ask(window, 9, 30);
    // One of them still counts: the youngest.
    expect(window.tokens(30)).toBe(9);
    expect(window.spent(30)).toBe(1);
    expect(window.view(30).rows.map(({ id }) => id)).toEqual([3]);
  });

  test("of pulls that are known by the second only, as many are dropped as can no longer count", () => {
    const window = windowOf(10);
    window.carry([{ ...carried(9, 0), cost: 9 }]);
    expect(window.tokens(0)).toBe(1);
    ask(window, 6, 1);
    expect(window.tokens(1)).toBe(6);
    expect(window.spent(1)).toBe(4);
  });

  test("what this process surely spent is not taken for what earlier ones spent", () => {
    const window = windowOf(10);
    window.carry([carried(1, 0), carried(2, 10)]);
    answer(window, window.send(1, 30), 9, 40);
    expect(window.spent(40)).toBe(1);
    expect(window.tokens(40)).toBe(9);
  });

  test("carried pulls never come back to what the upstream says: they may have done so before it answered", () => {
    const window = windowOf(10);
    window.carry([carried(1, 20_000)]);
    ask(window, 0, 20_000);
    expect(window.tokens(20_000 + windowMs)).toBe(0);
    ask(window, 4, 40_000);
    expect(window.tokens(20_000 + windowMs + 1)).toBe(4);
  });

  test("what is persisted names the first row that the answer may not cover", () => {
    const window = windowOf(10);
    expect(window.lastAnswer(0)).toBeUndefined();
    const asked = window.send(0, 0);
    const inFlightCost = window.send(1, 0);
    inFlightCost.id = 5;
    const done = window.send(1, 0);
    done.id = 6;
    answer(window, done, 8, 1);
    answer(window, asked, 9, 2);
    expect(window.lastAnswer(2)).toEqual({ remaining: 8, since: 5 });
    answer(window, inFlightCost, 7, 3);
    ask(window, 7, 4);
    expect(window.lastAnswer(4)).toEqual({ remaining: 7, since: 7 });
  });
});

describe("what is expected", () => {
  test("is what is left if all that is in flight turns out to be covered", () => {
    const window = windowOf(30);
    const flights = Array.from({ length: 20 }, () => window.send(1, 0));
    const [first] = flights;
    if (!first) throw new Error("unreachable");
    answer(window, first, 10, 5);
    expect(window.tokens(5)).toBe(-9);
    expect(window.expected(5)).toBe(10);
  });
});
