/** An upstream's limit holds whatever happens: crashes, impatient clients, and others who pull with the same account. */
import { setTimeout as wait } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { errorOf, type Reply } from "../../support/ask.ts";
import { inTurns, openFleet, type Fleet, type FleetOptions } from "../../support/fleet.ts";
import type { Image, ImageOptions } from "../../support/images.ts";
import type { PullResult } from "../../support/pullSession.ts";

const windowSeconds = 21_600;

let fleet: Fleet | undefined;

afterEach(() => fleet?.close());

async function open(options: FleetOptions): Promise<Fleet> {
  fleet = await openFleet(options);
  return fleet;
}

/** When the first of the pulls that the stand-in counted leaves the window, in whole seconds from now by its clock. */
function firstFree({ hub }: Fleet): number {
  const first = hub.counts.requests.find(({ charged }) => charged);
  return Math.ceil(((first?.at ?? Number.NaN) - hub.now()) / 1000) + windowSeconds;
}

/** Whether a refusal's Retry-After, asked for when the first pull was `before` seconds off, is right within a second. */
function expectTrue(reply: Reply, before: number, fleet: Fleet): void {
  const retryAfter = Number(reply.headers["retry-after"]);
  expect(retryAfter).toBeLessThanOrEqual(before + 1);
  expect(retryAfter).toBeGreaterThanOrEqual(firstFree(fleet) - 1);
}

/** Pushes images, and gives them by their repositories. Those without an index cost one pull each. */
async function pushAll(
  fleet: Fleet,
  repositories: readonly string[],
  options: ImageOptions = {},
): Promise<Map<string, Image>> {
  const push = async (name: string) => [name, await fleet.push(name, options)] as const;
  return new Map(await inTurns(repositories, 4, push));
}

/** Pulls an image as a kubelet does: again when the mirror was not there. */
async function insist(fleet: Fleet, node: string, repository: string): Promise<PullResult> {
  for (;;) {
    const result = await fleet.pull(node, repository);
    if (result.errors.length === 0 || result.statuses[429] !== undefined) return result;
    expect(result.errors[0]).toMatch(/ECONNREFUSED|ECONNRESET|socket hang up|aborted/);
    await wait(50);
  }
}

describe.each([
  {
    known: "by the upstream, to an account",
    hub: { accounts: { cluster: { password: "s3cret", limit: 30 } } },
    upstream: { credential: { username: "cluster", password: "s3cret" }, quota: { maxWait: "3s" } },
    owner: "the account cluster of docker.io",
  },
  {
    known: "by the configuration alone",
    hub: { limit: "unlimited" },
    upstream: { quota: { limit: 30, window: "6h", maxWait: "3s" } },
    owner: "docker.io, which counts anonymous pulls by address,",
  },
] as const)("a limit of 30 that is known $known", ({ hub: hubOptions, upstream, owner }) => {
  test("holds over two crashes, and refusals tell the truth", async () => {
    const fleet = await open({ hub: hubOptions, upstream });
    const { hub } = fleet;
    const cached = ["library/base-0", "library/base-1"];
    await pushAll(fleet, cached);
    const wanted = Array.from({ length: 60 }, (_, number) => `library/app-${number}`);
    const images = await pushAll(fleet, wanted);
    for (const repository of cached) await fleet.hold("node-0", repository);

    const pulls = inTurns([...wanted.entries()], 20, ([number, repository]) =>
      insist(fleet, `node-${number % 20}`, repository),
    );
    // The ledger's clock stands still while nothing runs, so the time that a refusal names is never too early, but later by as long as that.
    let stoodStill = 0;
    for (const count of [12, 20]) {
      await hub.counts.when(({ charged }) => charged, count);
      stoodStill += await fleet.crash();
    }
    const results = await pulls;

    // What the stand-in refuses it does not count, so it is what was asked for that has to keep within the limit.
    const spent = hub.counts.manifestGets.total;
    expect(spent).toBeLessThanOrEqual(30);
    // A crash loses no more than what was under way.
    expect(spent).toBeGreaterThanOrEqual(20);
    const refused = wanted.filter((_, number) => results[number]?.errors.length !== 0);
    expect(refused.length).toBeGreaterThanOrEqual(60 - 26);

    // Questions of those who were refused may still be under way.
    const heard = (): number =>
      hub.counts.requests.filter(({ repository = "" }) => cached.includes(repository)).length;
    const before = heard();
    for (const repository of cached) {
      expect((await fleet.pull("node-1", repository)).errors).toEqual([]);
    }
    expect(heard()).toBe(before);
    for (const repository of refused) {
      const digest = images.get(repository)?.platforms.get("linux/amd64")?.manifest.digest ?? "";
      const free = firstFree(fleet);
      const reply = await fleet.manifest(repository, digest);
      const { code, message } = errorOf(reply);
      expect([reply.status, code]).toEqual([429, "TOOMANYREQUESTS"]);
      expectTrue(reply, free + stoodStill, fleet);
      const next = /the next one is free at (\S+) \(in (?:5|6) h[^)]*\)/.exec(message)?.[1] ?? "";
      expect(Math.abs(Date.parse(next) - hub.now() - firstFree(fleet) * 1000)).toBeLessThanOrEqual(
        2000 + stoodStill * 1000,
      );
      expect(message).toContain(`${owner} has no pull left of 30 in 6 h; `);
      expect(message).toMatch(/; wait, use an image that is held, or give Hubcap an account/);

      const before = hub.counts.requests.length;
      for (let repeat = 0; repeat < 5; repeat += 1) {
        expect((await fleet.manifest(repository, digest)).status).toBe(429);
      }
      expect(hub.counts.requests.length).toBe(before);
    }
    expect(hub.counts.manifestGets.total).toBe(spent);

    // Rows of earlier processes are thought younger than they are, by as long as nothing ran.
    await fleet.pass(firstFree(fleet) + 10);
    expect((await fleet.pull("node-2", refused[0] ?? "")).errors).toEqual([]);
  });
});

describe("the last pulls of a window", () => {
  test("are not overspent by clients that come at the same time, and none waits for what will not come", async () => {
    const fleet = await open({ hub: { limit: 3 }, upstream: { quota: { maxWait: "2s" } } });
    const { hub } = fleet;
    const images = await pushAll(
      fleet,
      Array.from({ length: 12 }, (_, number) => `library/app-${number}`),
      { single: true },
    );
    // The tags, which cost nothing, and with them what is left.
    for (const repository of images.keys()) await fleet.head(repository).digest;
    const replies = await Promise.all(
      [...images].map(([repository, { root }]) => fleet.manifest(repository, root.digest)),
    );
    expect(hub.counts.manifestGets.total).toBe(3);
    expect(replies.filter(({ status }) => status === 200)).toHaveLength(3);
    const refused = replies.filter(({ status }) => status === 429);
    expect(refused).toHaveLength(9);
    for (const reply of refused) {
      expect(errorOf(reply).message).toContain("has no pull left of 3 in 6 h");
      expectTrue(reply, windowSeconds, fleet);
    }
  });

  test("come back when Retry-After has passed, not sooner, and a pull that can wait for one does", async () => {
    const fleet = await open({ hub: { limit: 2 }, upstream: { quota: { maxWait: "5s" } } });
    const { hub } = fleet;
    const images = await pushAll(fleet, ["library/one", "library/two"]);
    expect((await fleet.pull("node-0", "library/one")).errors).toEqual([]);
    const digest = images.get("library/two")?.root.digest ?? "";
    const ask = () => fleet.manifest("library/two", digest);
    const retryAfter = Number((await ask()).headers["retry-after"]);
    // Less than five seconds, and it is worth waiting for.
    await fleet.pass(retryAfter - 25);
    const before = firstFree(fleet);
    const again = await ask();
    expect(again.status).toBe(429);
    expectTrue(again, before, fleet);
    await fleet.pass(22);
    expect((await ask()).status).toBe(200);
    expect(firstFree(fleet)).toBeLessThanOrEqual(0);
    expect(hub.counts.charged.total).toBe(hub.counts.manifestGets.total);
  });
});

describe("what others pull with the same account", () => {
  test("is noticed with the next pull, and what it left is not overspent", async () => {
    const fleet = await open({ hub: { limit: 20 } });
    const { hub, hubcap } = fleet;
    const names = Array.from({ length: 8 }, (_, number) => `library/app-${number}`);
    const images = await pushAll(fleet, names, { single: true });
    for (const repository of names) await fleet.head(repository).digest;
    expect(await hubcap.metric("hubcap_quota_remaining")).toBe(20);
    hub.consume(16);
    const answered: [status: number, remaining: number][] = [];
    for (const [repository, { root }] of images) {
      const { status } = await fleet.manifest(repository, root.digest);
      answered.push([status, await hubcap.metric("hubcap_quota_remaining")]);
    }
    const goes = [3, 2, 1, 0].map((remaining) => [200, remaining]);
    const refused = [0, 0, 0, 0].map((remaining) => [429, remaining]);
    expect(answered).toEqual([...goes, ...refused]);
    expect(hub.counts.manifestGets.total).toBe(4);
    expect(await fleet.state()).toBe("exhausted");
  });

  test("is noticed with the next HEAD, before a herd comes for what is not there", async () => {
    const fleet = await open({ hub: { limit: 20 }, upstream: { quota: { maxWait: "3s" } } });
    const { hub } = fleet;
    await pushAll(fleet, ["library/first"]);
    expect((await fleet.pull("node-0", "library/first")).errors).toEqual([]);
    const images = await pushAll(
      fleet,
      Array.from({ length: 10 }, (_, number) => `library/app-${number}`),
      { single: true },
    );
    hub.consume(13);
    hub.counts.reset();
    await Promise.all(
      [...images.keys()].map((repository, number) => fleet.pull(`node-${number}`, repository)),
    );
    expect(hub.counts.manifestGets.total).toBe(5);
    expect(hub.counts.charged.total).toBe(5);
  });

  test("is noticed when it comes back, long before it must have", async () => {
    const fleet = await open({ hub: { limit: 20 } });
    const { hub } = fleet;
    const image = await fleet.push("library/app");
    hub.consume(20);
    await fleet.pass(windowSeconds / 2);
    await fleet.head("library/app").digest;
    const pull = () => fleet.manifest("library/app", image.root.digest);
    expect((await pull()).status).toBe(429);
    await fleet.pass(windowSeconds / 2);
    expect((await pull()).status).toBe(200);
    expect(hub.counts.manifestGets.total).toBe(1);
  });
});
