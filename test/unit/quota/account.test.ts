/** Which requests may be sent, and what the error says when one may not. */
import { describe, expect, test } from "vitest";
import { knownLimits } from "../../../src/quota/limits.ts";
import { QuotaError } from "../../../src/quota/quota.ts";
import { answered, eventsOf, pull, pulls, refusal, started } from "./bucketState.ts";
import { requestOf, windowMs } from "./world.ts";

const another = { ...requestOf("manifest-get"), what: "manifest library/other:1" };

const made = (number: number) => ({ ...requestOf("manifest-head"), what: `manifest evil/made-up:${number}` });

const minute = 60_000;
const hour = 60 * minute;

describe("the state of a bucket", () => {
  test("falls as pulls are spent and rises as they come back, with an event for each change", async () => {
    const world = await started(20);
    const events = eventsOf(world.account);
    expect(world.account.balance.state).toBe("ok");
    const states = [];
    for (let spent = 1; spent <= 20; spent += 1) {
      await pulls(world, 1);
      states.push(world.account.balance.state);
      world.time += 1000;
    }
    expect(states.indexOf("low")).toBe(13);
    expect(states.indexOf("reserve")).toBe(17);
    expect(states.indexOf("exhausted")).toBe(19);
    world.time = windowMs + 1;
    await world.account.maintain(0);
    world.time += 2 * windowMs;
    await world.account.maintain(0);
    const steps = events.filter((event) => event.type === "state").map(({ from, to }) => `${from} > ${to}`);
    expect(steps).toEqual([
      "ok > low",
      "low > reserve",
      "reserve > exhausted",
      "exhausted > reserve",
      "reserve > ok",
    ]);
  });

  test("a burst that is under way does not look like an empty bucket", async () => {
    const world = await started(30);
    const flights = await Promise.all(Array.from({ length: 16 }, () => world.send("manifest-get")));
    for (const flight of flights) if (flight) world.deliver(flight);
    const last = flights.at(-1);
    if (!last) throw new Error("unreachable");
    world.answer(last);
    expect(world.account.balance.state).toBe("ok");
    expect(world.account.balance.snapshot(0).remaining).toBe(14);
    // Not certain enough to send another pull, but worth waiting for.
    expect(world.account.balance.tokens).toBeLessThan(1);
    expect(world.account.balance.verdict(requestOf("manifest-get"))).toBe("wait");
  });

  test("only first pulls may spend the reserve, and warming stops at `low`", async () => {
    const world = await started(20);
    const may = (reason: "pull" | "revalidate" | "warm") =>
      world.account.balance.verdict(requestOf("manifest-get", reason)) === "now";
    await pulls(world, 13);
    expect([may("pull"), may("revalidate"), may("warm")]).toEqual([true, true, true]);
    await pulls(world, 1);
    expect([may("pull"), may("revalidate"), may("warm")]).toEqual([true, true, false]);
    await pulls(world, 4);
    expect([may("pull"), may("revalidate"), may("warm")]).toEqual([true, false, false]);
    expect(refusal(world.account, "manifest-get", "revalidate").message).toMatch(
      /has 2 of 20 pulls in 1 min left, which are kept for images that clients wait for/,
    );
    expect(world.account.balance.verdict(requestOf("manifest-head", "revalidate"))).toBe("now");
  });
});

describe("with nothing left", () => {
  test("requests that cost nothing are still sent", async () => {
    const world = await started(1);
    await pulls(world, 1);
    for (const kind of ["manifest-head", "blob", "token", "ping", "tags", "referrers"] as const) {
      expect(world.account.balance.verdict(requestOf(kind))).toBe("now");
    }
  });

  test("Retry-After is when the upstream allows the next pull, to the second", async () => {
    const world = await started(3, { maxWaitMs: 0 });
    for (const pause of [2700, 12_345, 9_876]) {
      await pulls(world, 1);
      world.time += pause;
    }
    const { retryAfter, kind } = refusal(world.account);
    expect(kind).toBe("exhausted");
    const start = world.time;
    world.time = start + (retryAfter - 1) * 1000;
    expect(world.remaining).toBe(0);
    expect(await pull(world)).toBe(false);
    world.time = start + retryAfter * 1000;
    expect(world.remaining).toBe(1);
    expect(await pull(world)).toBe(true);
  });

  test("Retry-After is right after a restart, when the wall clock is", async () => {
    const world = await started(3, { maxWaitMs: 0 });
    for (const pause of [2700, 12_345, 9_876]) {
      await pulls(world, 1);
      world.time += pause;
    }
    await world.restart(20_000, () => false);
    const { retryAfter } = refusal(world.account);
    const start = world.time;
    world.time = start + (retryAfter - 1) * 1000;
    expect(world.remaining).toBe(0);
    world.time = start + retryAfter * 1000;
    expect(world.remaining).toBe(1);
    // The wall clock may be wrong, so a HEAD, which costs nothing, is sent first.
    expect(await pull(world)).toBe(false);
    expect(world.account.worthAsking()).toBe(true);
    await world.ask();
    expect(await pull(world)).toBe(true);
  });

  test("Retry-After after a week's stop is when the pull is allowed, if the upstream cannot say that it is before", async () => {
    const world = await started(3, { maxWaitMs: 0 }, false);
    await pulls(world, 3);
    await world.restart(7 * 24 * hour, () => false);
    const { retryAfter } = refusal(world.account);
    expect(world.account.worthAsking()).toBe(false);
    world.time += (retryAfter - 1) * 1000;
    expect(await pull(world)).toBe(false);
    world.time += 1000;
    expect(await pull(world)).toBe(true);
  });

  test("a pull that will be free soon is waited for", async () => {
    const world = await started(1, { maxWaitMs: 15_000 });
    await pulls(world, 1);
    world.time += windowMs - 15_000;
    expect(world.account.balance.verdict(requestOf("manifest-get"))).toBeInstanceOf(QuotaError);
    world.time += 1;
    expect(world.account.balance.verdict(requestOf("manifest-get"))).toBe("wait");
    expect(world.account.balance.pullFreeInMs).toBe(15_000);
  });

  test("says in one sentence whose quota is spent, when the next pull is free, and what to do", async () => {
    const world = await started(2);
    await pulls(world, 2);
    expect(refusal(world.account).message).toBe(
      "the account cluster of docker.io has no pull left of 2 in 1 min; the next one is free at 2026-11-22T00:01:01Z " +
        "(in 1 min 1 s); held images are still served; wait, use an image that is held, or give Hubcap an " +
        "account with a higher limit",
    );
    const anonymous = await started(2, { account: undefined });
    await pulls(anonymous, 2);
    expect(refusal(anonymous.account).message).toMatch(
      /^docker\.io, which counts anonymous pulls by address, has no pull left of 2 in 1 min; .* give Hubcap an account to pull with$/,
    );
  });
});

test("what refused requests may have cost is asked about once nothing else is left, where the upstream says what is", async () => {
  for (const hasHeaders of [true, false]) {
    const world = await started(5, { maxWaitMs: 0 }, hasHeaders);
    await world.ask();
    for (let time = 0; time < 5; time += 1) await answered(world.account, { status: 404, headers: {} });
    expect(refusal(world.account).kind).toBe("exhausted");
    world.time += 10_000;
    expect(world.account.worthAsking()).toBe(hasHeaders);
    await world.ask();
    expect(world.account.balance.tokens).toBe(hasHeaders ? 5 : 0);
  }
});

describe("a 429 about pulls", () => {
  const limited = {
    status: 429,
    headers: { "ratelimit-limit": "100;w=60", "ratelimit-remaining": "0;w=60" },
  };

  test("empties the bucket at once, costs nothing, and repeats are not sent", async () => {
    const world = await started(100);
    await answered(world.account, limited);
    expect(world.account.balance.state).toBe("exhausted");
    expect(world.account.balance.snapshot(0)).toMatchObject({ remaining: 0, spentInWindow: 0 });
    expect(world.ledger.entries).toMatchObject([{ outcome: "limited", cost: 0 }]);
    for (let repeat = 0; repeat < 5; repeat += 1) expect(refusal(world.account).kind).toBe("exhausted");
    expect(world.account.worthAsking()).toBe(false);
  });

  test("in Docker Hub's words, without any header, empties it until our own pulls come back", async () => {
    const world = await started(100);
    await pulls(world, 1);
    world.time += 30_000;
    await answered(world.account, { status: 429, pulls: true });
    expect(refusal(world.account).retryAfter).toBe(31);
    world.time += 30_001;
    expect(world.account.balance.tokens).toBe(1);
  });

  test("without any header, of an upstream that never said what is left, holds back briefly what was requested", async () => {
    const configured = { upstream: "ghcr.io", preset: knownLimits("ghcr.io", true) };
    const world = await started(1000, configured, false);
    await pulls(world, 1);
    await answered(world.account, { status: 429, pulls: true });
    expect(refusal(world.account)).toMatchObject({ kind: "limited", retryAfter: 10 });
    expect(world.account.balance.verdict(another)).toBe("now");
    expect(world.account.balance.snapshot(0)).toMatchObject({ state: "ok", remaining: 999 });
    world.time += 10_000;
    await pulls(world, 1);
  });

  test("holds until its Retry-After, whatever other answers say", async () => {
    const world = await started(100, { maxWaitMs: 0 });
    await answered(world.account, { ...limited, headers: { ...limited.headers, "retry-after": "3600" } });
    expect(refusal(world.account).retryAfter).toBe(3600);
    world.time += hour - 1;
    await world.ask();
    expect(refusal(world.account).retryAfter).toBe(1);
    world.time += 1;
    expect(world.account.balance.verdict(requestOf("manifest-get"))).toBe("now");
  });

  test("ends when a later answer shows that something is left", async () => {
    const world = await started(100);
    await answered(world.account, limited);
    world.time += 10_000;
    expect(world.account.worthAsking()).toBe(true);
    expect(world.account.worthAsking()).toBe(false);
    await world.ask();
    expect(world.account.balance.tokens).toBe(100);
  });
});

describe("a 429 about the rate of requests", () => {
  test("of Docker Hub's abuse guard pauses everything for at least a minute", async () => {
    const world = await started(100);
    await answered(world.account, { status: 429, headers: { "retry-after": "5" }, abuse: true });
    for (const kind of ["manifest-get", "manifest-head", "blob", "token"] as const) {
      expect(refusal(world.account, kind)).toMatchObject({ kind: "paused", retryAfter: 60 });
    }
    expect(world.account.balance.snapshot(0)).toMatchObject({ state: "ok", remaining: 100 });
    world.time += minute;
    expect(world.account.balance.verdict(requestOf("blob"))).toBe("now");
  });

  test("pauses for as long as it says when that is longer, but not for ever", async () => {
    const world = await started(100);
    await answered(world.account, { status: 429, headers: { "retry-after": "3600" }, abuse: true });
    expect(refusal(world.account, "blob").retryAfter).toBe(3600);
    await answered(world.account, { status: 429, headers: { "retry-after": "999999999" }, abuse: true });
    expect(refusal(world.account, "blob").retryAfter).toBe(3600);
  });

  test("in answer to a ping pauses an upstream without a limit on pulls, briefly when it names no time", async () => {
    const world = await started(100, {
      upstream: "ghcr.io",
      preset: knownLimits("ghcr.io", true),
      quota: undefined,
    });
    const text = "880.092µs, allowed: 44000/minute";
    await answered(world.account, { status: 429, headers: { "retry-after": text } }, "ping");
    expect(refusal(world.account, "blob").retryAfter).toBe(1);
    await answered(world.account, { status: 429 }, "ping");
    const error = refusal(world.account);
    expect(error).toMatchObject({ kind: "paused", retryAfter: 10 });
    expect(error.message).toMatch(
      /^ghcr\.io asked for a pause because of too many requests; the next request is sent at 2026-.*Z \(in 10 s\)/,
    );
  });
});

describe("a 429 that is neither", () => {
  const limited = { status: 429, headers: { "retry-after": "21600" } };

  test.each(["docker.io", "registry.example"])(
    "of %s holds back nothing but what was requested, for an hour at most",
    async (upstream) => {
      const world = await started(100, { upstream, preset: knownLimits(upstream, true) });
      await pulls(world, 1);
      await answered(world.account, limited);
      const error = refusal(world.account);
      expect(error).toMatchObject({ kind: "limited", retryAfter: 3600 });
      expect(error.message).toMatch(
        /^\S+ answered that there are too many requests for manifest library\/nginx:1; it is requested again at 2026-.*Z \(in 1 h\)/,
      );
      for (const request of [another, requestOf("blob"), requestOf("token"), requestOf("ping")])
        expect(world.account.balance.verdict(request)).toBe("now");
      expect(world.account.balance.state).toBe("ok");
      world.time += hour;
      expect(world.account.balance.verdict(requestOf("manifest-get"))).toBe("now");
    },
  );

  test("of a thousand things that clients made up holds back no other, and the latest are remembered", async () => {
    const world = await started(100);
    for (let number = 0; number < 1500; number += 1) {
      const reservation = world.account.reserve(made(number));
      world.account.admit(reservation);
      world.account.answered(reservation, limited);
    }
    expect(world.account.balance.verdict(another)).toBe("now");
    const isHeld = (number: number): boolean => world.account.balance.verdict(made(number)) !== "now";
    expect([isHeld(0), isHeld(499), isHeld(500), isHeld(1499)]).toEqual([false, false, true, true]);
  });
});

describe("a rehearsal", () => {
  test("of an empty bucket refuses what costs something, and ends by itself", async () => {
    const world = await started(20);
    const events = eventsOf(world.account);
    world.account.rehearse("empty", world.wall + 10 * minute);
    expect(world.account.balance.state).toBe("exhausted");
    expect(refusal(world.account)).toMatchObject({ kind: "exhausted", retryAfter: 600 });
    expect(world.account.balance.verdict(requestOf("manifest-head"))).toBe("now");
    expect(world.account.balance.snapshot(0)).toMatchObject({
      remaining: 0,
      rehearsal: { mode: "empty", until: "2026-11-22T00:10:00Z" },
    });
    world.time += 10 * minute;
    expect(world.account.balance.rehearsal).toBeUndefined();
    expect(await pull(world)).toBe(true);
    expect(events.filter(({ type }) => type === "state")).toHaveLength(2);
  });

  test("of an outage refuses everything", async () => {
    const world = await started(20);
    world.account.rehearse("down", world.wall + minute);
    const error = refusal(world.account, "blob");
    expect(error).toMatchObject({ kind: "down", retryAfter: 60 });
    expect(error.message).toMatch(
      /^an operator has declared a rehearsal of an outage of docker\.io; it ends at 2026-11-22T00:01:00Z/,
    );
    world.account.rehearse("down", world.wall);
    expect(world.account.balance.verdict(requestOf("blob"))).toBe("now");
  });

  test("ends when it should though the wall clock jumps", async () => {
    const world = await started(20);
    world.account.rehearse("empty", world.wall + minute);
    world.jump(-hour);
    world.time += minute;
    expect(world.account.balance.rehearsal).toBeUndefined();
  });
});
