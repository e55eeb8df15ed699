/** What a client may have asked of upstreams, and what it costs whom. */
import { expect, test } from "vitest";
import { MissLimiter, MissLimitError } from "../../../src/mirror/upstreamRequests.ts";
import { UpstreamError } from "../../../src/upstream/error.ts";

const no = new UpstreamError("absent", "not there");

const clientOf = (client: string, address = `at-${client}`) => ({ client, payer: `${address} ${client}` });

function budget(burst = 10, perMinute = 6) {
  const clock = { now: 1_000_000 };
  let reached = 0;
  const misses = new MissLimiter(
    { burst, perMinute, reached: () => (reached += 1) },
    { now: () => clock.now },
  );
  /** How many questions that end like this a client gets through at once. */
  const through = (client: string, address: string | undefined, end: unknown, most = 1000): number => {
    for (let count = 0; count < most; count += 1) {
      try {
        misses.spend(clientOf(client, address))(end);
      } catch (error) {
        if (error instanceof MissLimitError) return count;
        throw error;
      }
    }
    return most;
  };
  return { clock, misses, through, refusals: () => reached };
}

test.each([
  ["there is no such thing", no, 10],
  ["it is not for us", new UpstreamError("denied", "no"), 10],
  // What is there costs a hundredth; the last request needs a whole one to begin with.
  ["it is there", undefined, 901],
  ["the upstream is down", new UpstreamError("unreachable", "down"), 901],
  ["no pull is left", new UpstreamError("limited", "none"), 901],
])("where %s, ten at once are a budget", (_, end, expected) => {
  const { through, refusals } = budget();
  expect(through("node-1", "10.0.0.1", end)).toBe(expected);
  expect(refusals()).toBe(1);
});

test("questions that have not been answered count whole: no one gets ahead by asking fast", () => {
  const { misses } = budget();
  for (let asked = 0; asked < 10; asked += 1) misses.spend(clientOf("node-1"));
  expect(() => misses.spend(clientOf("node-1"))).toThrow(MissLimitError);
});

test("one client's budget is no other's, and comes back with time, never more than whole", () => {
  const { clock, through } = budget();
  expect(through("node-1", "10.0.0.1", no)).toBe(10);
  expect(through("node-2", "10.0.0.1", no)).toBe(10);
  clock.now += 30_000;
  expect(through("node-1", "10.0.0.1", no)).toBe(3);
  clock.now += 3_600_000;
  expect(through("node-1", "10.0.0.1", no)).toBe(10);
  clock.now -= 3_600_000;
  expect(through("node-1", "10.0.0.1", no)).toBe(0);
});

test("whoever gives himself a new name for each question has an address all the same", () => {
  const { misses } = budget();
  const ask = (at: number): void => misses.spend(clientOf(`node-${at}`, "10.0.0.1"))(no);
  for (let at = 0; at < 80; at += 1) ask(at);
  expect(() => ask(80)).toThrow(MissLimitError);
});

test("whoever takes another's name has a budget of its own, and leaves the other's alone", () => {
  const { through } = budget();
  expect(through("node-7", "10.0.0.66", no)).toBe(10);
  expect(through("node-7", "10.0.0.7", no)).toBe(10);
});

test("what a client has proven is its own, whoever else has its address", () => {
  const { misses, through } = budget();
  for (let at = 0; at < 80; at += 1) misses.spend(clientOf(`node-${at}`, "10.0.0.1"))(no);
  expect(through("node-1", "token:nodes 10.0.0.1", no)).toBe(10);
  expect(through("node-2", "token:nodes 10.0.0.1", no)).toBe(10);
});

test("a client whose requests are all under way waits for one of them; after as many that found nothing it is refused", async () => {
  const { misses } = budget();
  const client = clientOf("node-1");
  const ends = Array.from({ length: 10 }, () => misses.spend(client));
  const waits = misses.full(client);
  expect(waits).toBeInstanceOf(Promise);
  expect(misses.full(clientOf("node-2"))).toBeUndefined();
  ends.pop()?.();
  await waits;
  // It has cost a hundredth: the next has to wait for another.
  expect(misses.full(client)).toBeInstanceOf(Promise);
  for (const end of ends) end(no);
  expect(misses.full(client)).toBeUndefined();
  expect(() => misses.spend(client)).toThrow(MissLimitError);
});

test("the answer says who, why, until when, and what goes on", () => {
  const { misses, through } = budget();
  through("node-1", undefined, no);
  expect(() => misses.spend(clientOf("node-1"))).toThrow(
    expect.objectContaining({
      kind: "limited",
      retryAfter: 10,
      message:
        "node-1 has asked for too much that upstreams do not have (limits.misses allows 10 at once); " +
        "it may ask for what is not held in 10 s, and what is held is still served",
    }),
  );
});

test("however many clients there are, only so many are remembered", () => {
  const { misses } = budget();
  for (let client = 0; client < 12_000; client += 1) misses.spend(clientOf(`node-${client}`));
  expect(misses.size).toBe(10_000);
});
