/** As pulls run out, each step gives up something that can be missed, and says so. */
import { afterEach, describe, expect, test } from "vitest";
import { openFleet, type Fleet, type FleetOptions } from "../../support/fleet.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { upstreamOf } from "../../support/hubcap.ts";

const minute = 60;
const windowSeconds = 6 * 60 * minute;

let fleet: Fleet | undefined;
let mirror: Hub | undefined;

afterEach(async () => {
  await fleet?.close();
  await mirror?.stop();
  mirror = undefined;
});

/** A limit of 20, of which 6 are low and 2 the reserve; a tag is believed for a minute. */
async function open(options: FleetOptions = {}): Promise<Fleet> {
  fleet = await openFleet({ hub: { limit: 20 }, config: { freshness: { tagTtl: "1m" } }, ...options });
  return fleet;
}

/** The warning in the log that says that a step was taken. */
function announcement({ hubcap }: Fleet, to: string) {
  return hubcap.logged((line) => line["to"] === to && line["upstream"] === "docker.io");
}

/** Pulls what is not held, and what was held from the start; gives what the stand-in was asked for. */
async function requestsOf({ hub }: Fleet, work: () => Promise<unknown>): Promise<string[]> {
  hub.counts.reset();
  await work();
  const { requests } = hub.counts;
  return requests
    .filter(({ origin, kind }) => origin === "registry" && kind === "manifest")
    .map(({ method, repository }) => `${method} ${repository}`);
}

test("ok, low, reserve, exhausted, and back: each step does what it says, in log and metrics too", async () => {
  const fleet = await open();
  const { hub, hubcap } = fleet;
  const held = "library/held";
  const image = await fleet.push(held);
  await fleet.push("library/first");
  await fleet.push("library/second");
  const pull = (repository: string) => async () => {
    const { errors, warnings, statuses } = await fleet.pull("node-1", repository);
    return { errors, warnings: [...warnings], statuses: Object.keys(statuses) };
  };
  const well = { errors: [], warnings: [], statuses: ["200"] };

  expect(await pull(held)()).toEqual(well);
  expect(await fleet.state()).toBe("ok");
  expect(await hubcap.metric("hubcap_quota_limit")).toBe(20);
  expect(await hubcap.metric("hubcap_quota_remaining")).toBe(18);
  expect(await hubcap.metric("hubcap_quota_reserve")).toBe(2);

  // ok: a minute later it is asked again, and so it is noticed that others have pulled too.
  hub.consume(12);
  await fleet.pass(minute + 1);
  expect(await requestsOf(fleet, pull(held))).toEqual([`HEAD ${held}`]);
  expect(await fleet.state()).toBe("low");
  expect(await announcement(fleet, "low")).toMatchObject({
    level: "warn",
    from: "ok",
    remaining: 6,
    limit: 20,
  });

  // low: believed for six minutes.
  await fleet.pass(6 * minute - 20);
  expect(await requestsOf(fleet, pull(held))).toEqual([]);
  hub.consume(4);
  await fleet.pass(30);
  expect(await requestsOf(fleet, pull(held))).toEqual([`HEAD ${held}`]);
  expect(await fleet.state()).toBe("reserve");
  expect(await announcement(fleet, "reserve")).toMatchObject({ level: "warn", from: "low", remaining: 2 });

  // reserve: what is held is not even checked, what is not held is pulled.
  await fleet.pass(6 * minute + 1);
  expect(
    await requestsOf(fleet, async () => {
      const stale = await pull(held)();
      expect(stale).toMatchObject({ errors: [], statuses: ["200"] });
      expect(stale.warnings[0]).toMatch(/^299 - "served from cache, last confirmed 36\d s ago: /);
    }),
  ).toEqual([]);
  expect(await hubcap.metric("hubcap_stale_served_total", { reason: "limited" })).toBeGreaterThan(0);
  expect(await requestsOf(fleet, pull("library/first"))).toEqual([
    "HEAD library/first",
    "GET library/first",
    "GET library/first",
  ]);
  expect(await fleet.state()).toBe("exhausted");
  expect(await announcement(fleet, "exhausted")).toMatchObject({
    level: "warn",
    from: "reserve",
    remaining: 0,
  });
  expect(await hubcap.metric("hubcap_quota_remaining")).toBe(0);

  // exhausted: stale is served, and what is not held is refused.
  expect(
    await requestsOf(fleet, async () => {
      expect((await fleet.manifest(held, "1")).headers["warning"]).toMatch(/^299 - "/);
      expect((await fleet.manifest(held, image.root.digest)).status).toBe(200);
    }),
  ).toEqual([]);
  expect(
    await requestsOf(fleet, async () => {
      const refused = await pull("library/second")();
      expect(refused.errors[0]).toContain("TOOMANYREQUESTS");
      expect(refused.statuses).toEqual(["200", "429"]);
    }),
  ).toEqual(["HEAD library/second"]);
  expect(await hubcap.metric("hubcap_quota_refused_total", { reason: "pull" })).toBe(5);

  // Back: a window later all that was spent is there again.
  await fleet.pass(windowSeconds);
  expect(await fleet.state()).toBe("ok");
  expect(await pull(held)()).toEqual(well);
  expect(await pull("library/second")()).toEqual(well);
  expect(await announcement(fleet, "ok")).toMatchObject({ level: "info" });
  expect(fleet.announced()).toEqual(["low", "reserve", "exhausted", "ok"]);
});

test("exhausted: fallback sends runtimes to the registry with a 503", async () => {
  const fleet = await open({ hub: { limit: 2 }, upstream: { whenExhausted: "fallback" } });
  await fleet.push("library/first");
  const second = await fleet.push("library/second");
  expect((await fleet.pull("node-1", "library/first")).errors).toEqual([]);
  fleet.hub.counts.reset();
  const refused = await fleet.pull("node-1", "library/second");
  expect(refused.statuses).toEqual({ 200: 1, 503: 1 });
  expect(refused.errors[0]).toContain("UNAVAILABLE");
  expect(Number(refused.retryAfters[0])).toBeGreaterThan(windowSeconds - 60);
  expect(fleet.hub.counts.manifestGets.total).toBe(0);
  // What is held is still served.
  expect((await fleet.pull("node-2", "library/first")).statuses).toEqual({ 200: 5 });
  expect((await fleet.manifest("library/second", second.root.digest)).status).toBe(503);
});

async function openWithAlternate(limit: number): Promise<{ fleet: Fleet; alternate: Hub }> {
  const alternate = await startHub({ limit: "unlimited" });
  mirror = alternate;
  const fleet = await open({
    hub: { limit },
    upstream: { alternates: ["mirror.gcr.io"] },
    others: { "mirror.gcr.io": upstreamOf(alternate) },
  });
  return { fleet, alternate };
}

describe("with an alternate", () => {
  test("what is not held comes from it when nothing is left, and the upstream is asked no more", async () => {
    const { fleet, alternate } = await openWithAlternate(2);
    const { hub } = fleet;
    await fleet.push("library/first");
    alternate.push(await fleet.push("library/second"), "library/second", "1");
    const third = await fleet.push("library/third");
    expect((await fleet.pull("node-1", "library/first")).errors).toEqual([]);
    expect(alternate.counts.requests).toEqual([]);

    hub.counts.reset();
    expect((await fleet.pull("node-1", "library/second")).errors).toEqual([]);
    expect(hub.counts.manifestGets.total).toBe(0);
    expect(alternate.counts.manifestGets.total).toBe(2);
    // Held as docker.io's, so it is not asked for again.
    alternate.counts.reset();
    expect((await fleet.pull("node-2", "library/second")).errors).toEqual([]);
    expect(alternate.counts.requests).toEqual([]);

    // What the alternate does not have is refused in the upstream's words.
    const refused = await fleet.manifest("library/third", third.root.digest);
    expect([refused.status, refused.body.toString()]).toEqual([429, expect.stringContaining("docker.io")]);
    expect(Number(refused.headers["retry-after"])).toBeGreaterThan(windowSeconds - 60);
  });

  test("what it says of a tag is checked as soon as the upstream can be asked, and blobs come from it too", async () => {
    const { fleet, alternate } = await openWithAlternate(20);
    const { hub } = fleet;
    const old = await fleet.push("library/app", { seed: "old" });
    alternate.push(old, "library/app", "1");
    const current = await fleet.push("library/app", { seed: "new" });
    await hub.registry.down();
    const first = await fleet.pull("node-1", "library/app");
    expect([first.errors, first.root]).toEqual([[], old.root.digest]);
    expect(alternate.counts.blobGets.total).toBe(2);
    expect(fleet.tagAlternate("library/app")).toBe("mirror.gcr.io");

    await hub.registry.up();
    // After so many failures it may be believed to be down, and is then asked by one request in five seconds.
    const again = async (): Promise<unknown> => {
      alternate.counts.reset();
      const { errors, root } = await fleet.pull("node-1", "library/app");
      return [errors, root, alternate.counts.requests.length];
    };
    await expect.poll(again, { timeout: 15_000, interval: 250 }).toEqual([[], current.root.digest, 0]);
    expect(fleet.tagAlternate("library/app")).toBeNull();
    // Believed now like any other.
    hub.counts.reset();
    expect((await fleet.pull("node-2", "library/app")).root).toBe(current.root.digest);
    expect(hub.counts.requests).toEqual([]);
  });
});
