/** What the ledger has, what is known after a restart, and what the snapshot shows of it. */
import { describe, expect, test, vi } from "vitest";
import { knownLimits } from "../../../src/quota/limits.ts";
import { QuotaError } from "../../../src/quota/quota.ts";
import { answered, eventsOf, pull, pulls, refusal, started } from "./bucketState.ts";
import { requestOf, windowMs } from "./world.ts";

const minute = 60_000;
const hour = 60 * minute;

describe("clocks and restarts", () => {
  test("a clock that is set back a year holds nothing back for a year", async () => {
    const world = await started(2, {}, false);
    await pulls(world, 2);
    world.jump(-365 * 24 * hour);
    await world.restart(0, () => false);
    expect(world.account.balance.tokens).toBe(0);
    world.time += windowMs + 1;
    expect(world.account.balance.tokens).toBe(2);
  });

  test("a clock that is set forward a year frees nothing", async () => {
    const world = await started(2, {}, false);
    await pulls(world, 2);
    world.jump(365 * 24 * hour);
    expect(world.account.balance.tokens).toBe(0);
    await world.restart(0, () => false);
    expect(world.account.balance.tokens).toBe(0);
  });

  test("time spent running counts after a restart, to the minute in which it was last saved", async () => {
    const world = await started(2, {}, false);
    await pulls(world, 2);
    world.time += windowMs + 1;
    await world.account.maintain(0);
    await world.restart(10, () => false);
    expect(world.account.balance.tokens).toBe(2);
  });

  test("a process that ends in order knows at the next start how long it ran", async () => {
    const world = await started(2, {}, false);
    await pulls(world, 2);
    world.time += windowMs + 1;
    await world.account.close();
    await world.restart(10, () => false);
    expect(world.account.balance.tokens).toBe(2);
  });

  test("what was in flight when it was killed counts as spent", async () => {
    const world = await started(2, {}, false);
    await world.send("manifest-get");
    await world.restart(0, () => true);
    expect(world.account.balance.tokens).toBe(1);
    expect(world.ledger.entries).toMatchObject([{ outcome: "failed", cost: 1 }]);
  });

  test("a pause that an upstream asked for lasts over a restart, until the moment it named", async () => {
    const world = await started(100);
    await pulls(world, 1);
    await answered(world.account, { status: 429, headers: { "retry-after": "600" }, abuse: true }, "blob");
    world.time += minute;
    await world.restart(4 * minute, () => false);
    expect(refusal(world.account, "blob")).toMatchObject({ kind: "paused", retryAfter: 300 });
    world.time += 5 * minute;
    expect(world.account.balance.verdict(requestOf("blob"))).toBe("now");
  });

  test("so does one about its ping, but not one about something that was requested", async () => {
    const world = await started(100);
    await pulls(world, 1);
    const limited = { status: 429, headers: { "retry-after": "600" } };
    await answered(world.account, limited, "manifest-head");
    await answered(world.account, limited, "ping");
    await world.restart(4 * minute, () => false);
    expect(refusal(world.account, "blob")).toMatchObject({ kind: "paused", retryAfter: 360 });
    world.time += 6 * minute;
    for (const kind of ["blob", "manifest-head"] as const)
      expect(world.account.balance.verdict(requestOf(kind))).toBe("now");
  });

  test("pulls that an upstream refused until a moment wait for it over a restart", async () => {
    const world = await started(100);
    const headers = {
      "ratelimit-limit": "100;w=60",
      "ratelimit-remaining": "0;w=60",
      "retry-after": "600",
    };
    await answered(world.account, { status: 429, headers });
    await world.restart(4 * minute, () => false);
    expect(world.account.balance.state).toBe("exhausted");
    expect(refusal(world.account)).toMatchObject({ kind: "exhausted", retryAfter: 360 });
    expect(world.account.balance.verdict(requestOf("blob"))).toBe("now");
    world.time += 6 * minute;
    expect(await world.send("manifest-get")).toBeDefined();
  });

  test("a pause lasts no longer than was left of it, though the clock is set back", async () => {
    const world = await started(100);
    await answered(world.account, { status: 429, headers: { "retry-after": "600" }, abuse: true });
    world.time += 4 * minute;
    await world.account.close();
    world.jump(-365 * 24 * hour);
    await world.restart(minute, () => false);
    expect(refusal(world.account, "blob").retryAfter).toBe(360);
  });

  test("one account never spends from another's window", async () => {
    const world = await started(2);
    await pulls(world, 2);
    await world.start({ account: undefined });
    expect(world.account.balance.tokens).toBe(2);
  });
});

describe("the ledger", () => {
  test("gets the upstream's answer again when it is the same as one that was void", async () => {
    const world = await started(1);
    await pulls(world, 1);
    world.time += hour;
    world.spendElsewhere(1);
    await world.account.maintain(0);
    await world.ask();
    await world.restart(0, () => false);
    expect(world.account.balance.tokens).toBe(0);
  });

  test("has each pull before it is sent, with its client, and afterwards how it ended", async () => {
    const world = await started(100);
    const reservation = world.account.reserve(requestOf("manifest-get", "pull", "node-7"));
    world.account.admit(reservation);
    await world.account.begin(reservation);
    expect(world.ledger.entries).toMatchObject([
      {
        bucket: "docker.io cluster",
        upstream: "docker.io",
        repository: "library/nginx",
        client: "node-7",
        userAgent: "containerd/2.3.4",
        reason: "pull",
        cost: 1,
        outcome: "sent",
        at: world.wall,
      },
    ]);
    world.account.answered(reservation, { status: 404, headers: {} });
    for (const status of [200, 307, 401, 403, 500]) await answered(world.account, { status });
    await answered(world.account, {}, "manifest-head");
    const outcomes = world.ledger.entries.map(({ outcome, cost }) => `${outcome} ${cost}`);
    expect(outcomes).toEqual(["absent 1", "counted 1", "counted 1", "denied 1", "denied 1", "failed 1"]);
  });

  test("must outlast a power cut where the upstream never says what is left, as nothing else knows what was spent", async () => {
    const silent = await started(5, {}, false);
    await pulls(silent, 2);
    expect([...silent.ledger.lasting]).toEqual(silent.ledger.entries.map(({ id }) => id));
    const telling = await started(5);
    await pull(telling, "manifest-head");
    await pulls(telling, 2);
    expect(telling.ledger.entries).toHaveLength(2);
    expect(telling.ledger.lasting.size).toBe(0);
    const paid = await started(5, { preset: knownLimits("ghcr.io", true), quota: undefined }, false);
    await pulls(paid, 2);
    expect(paid.ledger.lasting.size).toBe(0);
  });

  test("keeps what a request that got no answer may have cost", async () => {
    const world = await started(100);
    const reservation = world.account.reserve(requestOf("manifest-get"));
    world.account.admit(reservation);
    await world.account.begin(reservation);
    world.account.failed(reservation);
    expect(world.ledger.entries).toMatchObject([{ outcome: "failed", cost: 1 }]);
    expect(world.account.balance.tokens).toBe(99);
  });

  test("gets back what was never sent", async () => {
    const world = await started(100);
    const reservation = world.account.reserve(requestOf("manifest-get"));
    world.account.admit(reservation);
    await world.account.begin(reservation);
    world.account.release(reservation);
    expect(world.ledger.entries).toMatchObject([{ outcome: "released", cost: 0 }]);
    expect(world.account.balance.tokens).toBe(100);
  });

  test("that cannot be written stops what a limit counts, and says so", async () => {
    const world = await started(100);
    const events = eventsOf(world.account);
    world.ledger.failure = new Error("database or disk is full");
    const reservation = world.account.reserve(requestOf("manifest-get"));
    await expect(world.account.begin(reservation)).rejects.toMatchObject({ kind: "paused", retryAfter: 10 });
    world.account.release(reservation);
    expect(world.account.balance.tokens).toBe(100);
    await world.account.maintain(0);
    await world.account.close();
    world.account.refuse(requestOf("manifest-get"), new QuotaError("busy", "later", 1));
    await Promise.resolve();
    const failures = events.filter(({ type }) => type === "ledger-failed");
    expect(failures.length).toBeGreaterThanOrEqual(4);
    expect(failures[0]).toMatchObject({ upstream: "docker.io", error: world.ledger.failure });
  });

  test("that cannot be written stops nothing where nothing is limited", async () => {
    const world = await started(100, {
      upstream: "ghcr.io",
      preset: knownLimits("ghcr.io", true),
      quota: undefined,
    });
    world.ledger.failure = new Error("database or disk is full");
    await answered(world.account, {});
    expect(world.account.balance.state).toBe("unlimited");
  });

  test("counts refusals by client", async () => {
    const world = await started(1);
    const events = eventsOf(world.account);
    await pulls(world, 1);
    const asked = requestOf("manifest-get", "pull", "node-2");
    world.account.refuse(asked, refusal(world.account));
    expect(await world.ledger.spendBy({ by: "client", since: 0 })).toEqual([
      { key: "node-1", spent: 1, refused: 0, lastAt: world.wall },
      { key: "node-2", spent: 0, refused: 1, lastAt: world.wall },
    ]);
    expect(events.at(-1)).toMatchObject({
      type: "refused",
      kind: "exhausted",
      client: "node-2",
      repository: "library/nginx",
      reason: "pull",
      retryAfter: 61,
    });
  });

  test("loses the details of pulls after a day, but not their clients", async () => {
    const world = await started(10);
    await pulls(world, 4);
    world.time += 24 * hour + 1;
    await pulls(world, 1);
    await world.account.maintain(0);
    expect(world.ledger.entries).toHaveLength(1);
    expect(await world.ledger.spendBy({ by: "client", since: 0 })).toMatchObject([
      { key: "node-1", spent: 5 },
    ]);
    world.time += 91 * 24 * hour;
    await world.account.maintain(0);
    expect(await world.ledger.spendBy({ by: "client", since: 0 })).toEqual([]);
  });
});

test("a history whose folding takes longer than a minute is not folded twice at a time", async () => {
  const world = await started(10);
  await pulls(world, 2);
  world.time += 2 * 24 * 60 * 60 * 1000;
  let under = 0;
  let most = 0;
  const fold = world.ledger.fold.bind(world.ledger);
  vi.spyOn(world.ledger, "fold").mockImplementation(async (bucket, time) => {
    most = Math.max(most, (under += 1));
    await new Promise(setImmediate);
    under -= 1;
    return fold(bucket, time);
  });
  await Promise.all([world.account.maintain(0), world.account.maintain(0)]);
  expect(most).toBe(1);
  expect(world.ledger.entries).toEqual([]);
});

describe("an upstream without a limit", () => {
  test("is unknown until it answers, then unlimited, and its pulls are written down all the same", async () => {
    const world = await started(
      1,
      { upstream: "ghcr.io", preset: knownLimits("ghcr.io", true), quota: undefined },
      false,
    );
    expect(world.account.balance.state).toBe("unknown");
    for (let pulled = 0; pulled < 3; pulled += 1) await answered(world.account, {});
    expect(world.account.balance.snapshot(0)).toMatchObject({
      state: "unlimited",
      limit: null,
      remaining: null,
      reserve: null,
      spentInWindow: 3,
      burnPerHour: 3,
      emptyAt: null,
      nextFreeAt: null,
      fullAt: null,
    });
    expect(world.ledger.entries).toHaveLength(3);
  });

  test("becomes limited by the first answer that names a limit", async () => {
    const world = await started(5, {
      upstream: "hubcap.example",
      preset: knownLimits("hubcap.example", true),
      quota: undefined,
    });
    await world.ask();
    expect(world.account.balance.snapshot(0)).toMatchObject({
      limit: 5,
      remaining: 5,
      learntFrom: "headers",
    });
    await pulls(world, 5);
    expect(refusal(world.account).kind).toBe("exhausted");
  });
});

describe("the snapshot", () => {
  test("is the row of the status API", async () => {
    const world = await started(20);
    world.time += 500;
    await pulls(world, 18);
    world.account.saved(7, 4096);
    world.account.saved(1, 1);
    const flight = await world.send("manifest-head");
    expect(flight).toBeDefined();
    expect(world.account.balance.snapshot(3)).toEqual({
      name: "docker.io",
      account: "cluster",
      source: null,
      state: "reserve",
      limit: 20,
      windowSeconds: 60,
      remaining: 2,
      reserve: 2,
      spentInWindow: 18,
      inFlight: 1,
      setAside: 0,
      waiting: 3,
      burnPerHour: 18,
      emptyAt: null,
      nextFreeAt: "2026-11-22T00:01:01Z",
      fullAt: "2026-11-22T00:01:01Z",
      learntFrom: "headers",
      observedAt: "2026-11-22T00:00:01Z",
      saved: { pulls: 8, bytes: 4097 },
      rehearsal: null,
    });
  });

  test("knows after a restart what was saved, learnt and answered", async () => {
    const world = await started(20);
    await answered(world.account, { headers: { "docker-ratelimit-source": "192.0.2.1" } });
    await world.ask();
    world.account.saved(5, 50);
    const { saved, source, learntFrom, observedAt } = world.account.balance.snapshot(0);
    await world.account.close();
    await world.restart(minute, () => false);
    expect(world.account.balance.snapshot(0)).toMatchObject({ saved, source, learntFrom, observedAt });
    expect({ saved, source, learntFrom }).toEqual({
      saved: { pulls: 5, bytes: 50 },
      source: "192.0.2.1",
      learntFrom: "headers",
    });
  });

  test("is sent each minute", async () => {
    const world = await started(20);
    const events = eventsOf(world.account);
    await world.account.maintain(2);
    expect(events).toEqual([
      { type: "sample", upstream: "docker.io", snapshot: world.account.balance.snapshot(2) },
    ]);
  });
});

describe("a token", () => {
  test("names the limit before the registry gets a request", async () => {
    const world = await started(20, { quota: undefined });
    const claims = JSON.stringify({
      access: [{ parameters: { pull_limit: "200", pull_limit_interval: "21600" } }],
    });
    world.account.learnToken(`e30.${Buffer.from(claims).toString("base64url")}.x`);
    expect(world.account.balance.snapshot(0)).toMatchObject({
      limit: 200,
      windowSeconds: 21_600,
      learntFrom: "token",
    });
    world.account.learnToken("opaque");
    expect(world.account.balance.snapshot(0)).toMatchObject({ limit: 200 });
  });
});

/** Five of twenty pulls were spent, of which the ledger that was restored knows nothing. */
async function restored(hasHeaders: boolean) {
  const world = await started(20, {}, hasHeaders);
  await pulls(world, 5);
  world.ledger.entries.length = 0;
  world.ledger.isRestored = true;
  await world.restart(0, () => true);
  return world;
}

describe("a ledger that came from a backup", () => {
  test("lets no pull be sent before the upstream has said what is left, for which it asks at once", async () => {
    const world = await restored(true);
    expect(world.account.balance.state).toBe("exhausted");
    expect(refusal(world.account).kind).toBe("exhausted");
    expect(world.account.worthAsking()).toBe(true);
    world.time += 100;
    await world.ask();
    expect(world.account.balance.tokens).toBe(15);
    world.time += 1000;
    await world.account.close();
    await world.restart(0, () => true);
    expect(world.account.balance.tokens).toBe(15);
  });

  test("lets none be sent for one window where the upstream never says, however often Hubcap starts", async () => {
    const world = await restored(false);
    world.time += windowMs / 2;
    await world.account.maintain(0);
    await world.restart(0, () => true);
    expect(world.account.balance.tokens).toBe(0);
    world.time += windowMs / 2 + 1;
    expect(world.account.balance.tokens).toBe(20);
  });
});
