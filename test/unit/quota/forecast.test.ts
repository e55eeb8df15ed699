import { describe, expect, test } from "vitest";
import { burnPerHour, emptyAt, freeAt, fullAt } from "../../../src/quota/forecast.ts";
import { SlidingWindow } from "../../../src/quota/slidingWindow.ts";

const hour = 60 * 60 * 1000;
const windowMs = 6 * hour;

/** A window in which pulls were answered at `times`, and say what is left if `limit` is all there is. */
function spent(limit: number, times: readonly number[]): SlidingWindow {
  const window = new SlidingWindow({ limit, windowMs });
  for (const [index, time] of times.entries()) {
    const row = window.send(1, time);
    window.settle(row, "counted", time);
    window.observe(row, limit - index - 1, time);
  }
  return window;
}

describe("when pulls come back", () => {
  test("the next one when the oldest leaves, all when the youngest does", () => {
    const window = spent(3, [0, 1000, 2000]);
    const view = window.view(5000);
    expect(freeAt(view, 5000, 1)).toBe(windowMs + 1);
    expect(freeAt(view, 5000, 2)).toBe(1000 + windowMs + 1);
    expect(fullAt(view, 5000)).toBe(2000 + windowMs + 1);
    // What it says is what the window will do.
    expect(window.tokens(windowMs)).toBe(0);
    expect(window.tokens(windowMs + 1)).toBe(1);
  });

  test("now when there are enough, never when the limit is smaller", () => {
    const view = spent(3, [0]).view(10);
    expect(freeAt(view, 10, 2)).toBe(10);
    expect(freeAt(view, 10, 4)).toBeUndefined();
    expect(fullAt(spent(3, []).view(10), 10)).toBeUndefined();
  });

  test("at the latest a window after the upstream answered, when others spent it", () => {
    const window = spent(3, [0]);
    const question = window.send(0, 5000);
    window.settle(question, "counted", 5000);
    window.observe(question, 0, 5000);
    expect(freeAt(window.view(6000), 6000, 1)).toBe(windowMs + 1);
    expect(freeAt(window.view(6000), 6000, 3)).toBe(5000 + windowMs + 1);
  });

  test("when a pull leaves that the upstream may not have counted when it answered", () => {
    const window = new SlidingWindow({ limit: 10, windowMs });
    const question = window.send(0, 0);
    window.settle(window.send(1, 0), "doubtful", 0);
    window.settle(question, "counted", hour);
    window.observe(question, 1, hour);
    expect(window.tokens(hour)).toBe(0);
    expect(freeAt(window.view(hour), hour, 1)).toBe(windowMs + 1);
    expect(window.tokens(windowMs + 1)).toBe(1);
  });

  test("the wall clock is believed about how old carried pulls are", () => {
    const window = new SlidingWindow({ limit: 1, windowMs });
    const row = { id: 1, cost: 1, settledAt: 0, expectedAt: -2 * hour, counted: true };
    window.carry([row], { remaining: 0, since: 2, settledAt: 0, expectedAt: -hour });
    expect(freeAt(window.view(0), 0, 1)).toBe(4 * hour + 1);
    // An estimate: nothing is sent because of it.
    expect(window.tokens(5 * hour)).toBe(0);
    expect(freeAt(window.view(5 * hour), 5 * hour, 1)).toBe(5 * hour);
  });

  test("without a limit there is nothing to wait for", () => {
    const view = new SlidingWindow({ limit: undefined, windowMs }).view(7);
    expect(freeAt(view, 7, 1)).toBe(7);
    expect(fullAt(view, 7)).toBeUndefined();
    expect(emptyAt(view, 7)).toBeUndefined();
  });
});

describe("when nothing will be left", () => {
  const everySixMinutes = Array.from({ length: 10 }, (_, index) => index * 0.1 * hour);

  test("follows what the last hour spent", () => {
    const window = spent(30, everySixMinutes);
    const view = window.view(hour);
    expect(burnPerHour(view, hour)).toBe(10);
    expect(emptyAt(view, hour)).toBe(3 * hour);
  });

  test("is never if what comes back keeps up with it", () => {
    const steady = Array.from({ length: 60 }, (_, index) => index * 0.1 * hour);
    expect(emptyAt(spent(70, steady).view(6 * hour), 6 * hour)).toBeUndefined();
    expect(emptyAt(spent(59, []).view(0), 0)).toBeUndefined();
  });

  test("is now when nothing is left", () => {
    expect(emptyAt(spent(10, everySixMinutes).view(hour), hour)).toBe(hour);
    expect(emptyAt(spent(10, everySixMinutes).view(5 * hour), 5 * hour)).toBe(5 * hour);
  });

  test("what was spent longer than an hour ago burns no more", () => {
    expect(burnPerHour(spent(30, everySixMinutes).view(1.5 * hour), 1.5 * hour)).toBe(5);
  });
});
