/** What upstreams said no to: believed for a while, and never more of it than fits. */
import { expect, test } from "vitest";
import { NegativeCache } from "../../../src/mirror/upstreamRequests.ts";
import { UpstreamError } from "../../../src/upstream/error.ts";

const absent = new UpstreamError("absent", "there is no such image");
const denied = new UpstreamError("denied", "not for you");

test("a no is believed for as long as its kind allows, and nothing else is remembered", () => {
  let now = 0;
  const cache = new NegativeCache({ now: () => now });
  cache.note("absent", absent);
  cache.note("denied", denied);
  for (const kind of ["limited", "unreachable", "corrupt"] as const) {
    cache.note(kind, new UpstreamError(kind, "later, perhaps"));
    expect(cache.get(kind)).toBeUndefined();
  }
  cache.note("ours", new Error("our own fault"));
  expect(cache.get("ours")).toBeUndefined();
  now = 9_999;
  expect(cache.get("denied")).toBe(denied);
  now = 10_000;
  expect([cache.get("denied"), cache.get("absent")]).toEqual([undefined, absent]);
  now = 29_999;
  expect(cache.get("absent")).toBe(absent);
  now = 30_000;
  expect(cache.get("absent")).toBeUndefined();
});

test("who makes up names without end fills no memory: the oldest no goes for the newest", () => {
  const cache = new NegativeCache({ now: () => 0 });
  for (let number = 0; number <= 10_000; number += 1) cache.note(`made up ${number}`, absent);
  expect(cache.get("made up 0")).toBeUndefined();
  expect(cache.get("made up 1")).toBe(absent);
  expect(cache.get("made up 10000")).toBe(absent);
});
