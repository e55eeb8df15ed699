/** An upstream's 429: what can be served from disk is, and the upstream is not asked a second time. */
import { afterEach, expect, test } from "vitest";
import type { Fault } from "../../support/faults.ts";
import { openFleet, type Fleet, type FleetOptions } from "../../support/fleet.ts";

const hour = 3600;

/** What a registry says that names the time after which it may be asked again. */
const refusal = {
  kind: "status",
  status: 429,
  headers: { "content-type": "application/json", "retry-after": String(hour) },
  body: JSON.stringify({
    errors: [{ code: "TOOMANYREQUESTS", message: "You have reached your pull rate limit." }],
  }),
} as const satisfies Fault;

let fleet: Fleet | undefined;

afterEach(() => fleet?.close());

/** A tag is fresh for no time at all, unless a test sets one. */
async function open(options: FleetOptions = {}): Promise<Fleet> {
  fleet = await openFleet({ config: { freshness: { tagTtl: "0s" } }, ...options });
  return fleet;
}

/** What the stand-in is asked while `work` is done, but for its ping, which finds out whether a 429 is about more than what was asked. */
async function requestsOf({ hub }: Fleet, work: () => Promise<unknown>): Promise<string[]> {
  hub.counts.reset();
  await work();
  const requests = hub.counts.requests.filter(({ kind }) => kind !== "ping");
  return requests.map(({ method, kind, repository = "" }) => `${method} ${kind} ${repository}`);
}

test("R29: a HEAD is refused for an hour: the tag is served stale, and the upstream hears one request", async () => {
  const fleet = await open();
  const { hub } = fleet;
  await fleet.push("library/app");
  expect((await fleet.pull("node-1", "library/app")).errors).toEqual([]);
  const fault = hub.fault({ ...refusal, asks: "manifest" });
  const pull = async (): Promise<void> => {
    const { errors, statuses, warnings } = await fleet.pull("node-1", "library/app");
    expect([errors, Object.keys(statuses), [...warnings].length]).toEqual([[], ["200"], 1]);
    expect([...warnings][0]).toMatch(/^299 - "served from cache/);
  };
  expect(await requestsOf(fleet, pull)).toEqual(["HEAD manifest library/app"]);
  expect(await requestsOf(fleet, pull)).toEqual([]);
  await fleet.pass(hour - 60);
  expect(await requestsOf(fleet, pull)).toEqual([]);
  expect(fault.hits).toBe(1);

  fault.remove();
  await fleet.pass(61);
  hub.counts.reset();
  expect([...(await fleet.pull("node-1", "library/app")).warnings]).toEqual([]);
  expect(hub.counts.manifestHeads.total).toBe(1);
});

test("R29: a tag has moved, and its new image is refused for an hour: the old one is still served", async () => {
  const fleet = await open();
  const { hub } = fleet;
  const old = await fleet.push("library/app", { seed: "old" });
  expect((await fleet.pull("node-1", "library/app")).errors).toEqual([]);
  await fleet.push("library/app", { seed: "new" });
  const fault = hub.fault({ ...refusal, asks: "manifest", method: "GET" });
  // As podman asks.
  const byTag = async (): Promise<void> => {
    const reply = await fleet.manifest("library/app", "1");
    expect([reply.status, reply.headers["docker-content-digest"]]).toEqual([200, old.root.digest]);
    expect(reply.headers["warning"]).toMatch(/^299 - "/);
  };
  expect(await requestsOf(fleet, byTag)).toEqual(["HEAD manifest library/app", "GET manifest library/app"]);
  expect(await requestsOf(fleet, byTag)).toEqual([]);
  await fleet.pass(hour - 60);
  expect(await requestsOf(fleet, byTag)).toEqual([]);
  expect(fault.hits).toBe(1);
});

test("clients get the time that the upstream names, and no longer one", async () => {
  const fleet = await open();
  const { hub } = fleet;
  const image = await fleet.push("library/app", { seed: "old" });
  expect((await fleet.pull("node-1", "library/app")).errors).toEqual([]);
  const moved = await fleet.push("library/app", { seed: "new" });
  const fault = hub.fault({ ...refusal, asks: "manifest", method: "GET" });
  const retryAfters: number[] = [];
  for (const { digest } of [
    moved.root,
    moved.root,
    moved.platforms.get("linux/arm64")?.manifest ?? image.root,
  ]) {
    const reply = await fleet.manifest("library/app", digest);
    retryAfters.push(Number(reply.headers["retry-after"]));
  }
  expect(Math.max(...retryAfters)).toBeLessThanOrEqual(hour);
  expect(Math.min(...retryAfters)).toBeGreaterThan(hour - 10);
  fault.remove();
  await fleet.pass(hour + 1);
  expect((await fleet.pull("node-1", "library/app")).root).toBe(moved.root.digest);
});

test.each([
  { whenExhausted: "hold", status: 429, code: "TOOMANYREQUESTS" },
  { whenExhausted: "fallback", status: 503, code: "UNAVAILABLE" },
])(
  "R30: nothing is held: $whenExhausted answers $status, and repeats do not reach the upstream",
  async (answer) => {
    const { whenExhausted, status, code } = answer;
    const fleet = await open({ upstream: { whenExhausted } });
    const { hub } = fleet;
    const image = await fleet.push("library/app");
    const other = await fleet.push("library/other");
    const fault = hub.fault({ ...refusal, asks: "manifest", method: "GET" });
    const first = await fleet.manifest("library/app", image.root.digest);
    expect([first.status, first.body.toString()]).toEqual([status, expect.stringContaining(code)]);
    expect(Math.abs(Number(first.headers["retry-after"]) - hour)).toBeLessThanOrEqual(1);
    const again = async (): Promise<void> => {
      for (let repeat = 0; repeat < 5; repeat += 1) {
        const reply = await fleet.manifest("library/app", image.root.digest);
        expect([reply.status, reply.body.toString()]).toEqual([status, expect.stringContaining(code)]);
        expect(Number(reply.headers["retry-after"])).toBeGreaterThan(hour - 10);
      }
    };
    expect(await requestsOf(fleet, again)).toEqual([]);
    const spent = await fleet.hubcap.metric("hubcap_quota_spent_total");
    // Nor does any other image that is not held.
    const unheld = () => fleet.manifest("library/other", other.root.digest);
    expect((await requestsOf(fleet, unheld)).filter((request) => request.includes("manifest"))).toEqual([]);
    expect(await fleet.hubcap.metric("hubcap_quota_spent_total")).toBe(spent);
    // Nor, before its time, is the upstream asked whether it has changed its mind.
    await fleet.pass(hour / 2);
    const later = () => fleet.manifest("library/app", image.root.digest);
    expect((await requestsOf(fleet, later)).filter((request) => request.includes("manifest"))).toEqual([]);
    expect(fault.hits).toBe(1);
    expect(await fleet.state()).toBe("exhausted");
  },
);

test.each([
  { saying: "that nothing remains", fault: undefined },
  { saying: "nothing at all", fault: { ...refusal, headers: {} } },
])("R30: a 429 that names no time, saying $saying, is not asked for twice either", async ({ fault }) => {
  const fleet = await open({ hub: { limit: 10 } });
  const { hub } = fleet;
  const image = await fleet.push("library/app");
  await fleet.head("library/app").digest;
  hub.consume(10);
  if (fault) hub.fault({ ...fault, asks: "manifest", method: "GET", times: 1 });
  const pull = () => fleet.manifest("library/app", image.root.digest);
  const first = await pull();
  expect([first.status, first.body.toString()]).toEqual([429, expect.stringContaining("docker.io")]);
  expect(hub.counts.manifestGets.total).toBe(1);
  const repeats = async (): Promise<void> => {
    for (let repeat = 0; repeat < 5; repeat += 1) {
      const reply = await pull();
      expect([reply.status, reply.body.toString()]).toEqual([429, first.body.toString()]);
      expect(Number(reply.headers["retry-after"])).toBeGreaterThan(Number(first.headers["retry-after"]) - 10);
    }
  };
  expect(await requestsOf(fleet, repeats)).toEqual([]);
  // When the window has passed, a HEAD, which is free, finds out that pulls have come back.
  await fleet.pass(6 * hour);
  expect((await pull()).status).toBe(200);
});

test("R31: an empty bucket changes nothing for what is held", async () => {
  const fleet = await open({ hub: { limit: 2 }, config: { freshness: { tagTtl: "1m" } } });
  const { hub } = fleet;
  const image = await fleet.push("library/app");
  const before = await fleet.pull("node-1", "library/app");
  expect(before.errors).toEqual([]);
  expect(await fleet.state()).toBe("exhausted");
  const platform = image.platforms.get("linux/amd64");
  const all = async (): Promise<void> => {
    const again = await fleet.pull("node-2", "library/app");
    // Blobs are pulled at once, and come as they may.
    expect([again.errors, again.digests.toSorted()]).toEqual([[], before.digests.toSorted()]);
    for (const digest of [image.root.digest, platform?.manifest.digest ?? ""]) {
      const reply = await fleet.manifest("library/app", digest);
      expect([reply.status, reply.headers["warning"]]).toEqual([200, undefined]);
    }
    for (const { digest, size } of [...(platform?.layers ?? []), ...(platform ? [platform.config] : [])]) {
      const reply = await fleet.blob("library/app", digest);
      expect([reply.status, reply.body.length]).toEqual([200, size]);
    }
  };
  expect(await requestsOf(fleet, all)).toEqual([]);
  await fleet.pass(10 * 60);
  expect(await requestsOf(fleet, all)).toEqual([]);
  expect(hub.counts.charged.total).toBe(0);
});

test.each(["blobs", "manifests"] as const)(
  "S37: a 429 to the question whether a repository may have what another one's %s hold fails closed",
  async (kind) => {
    const fleet = await open();
    const { hub } = fleet;
    const image = await fleet.push("library/app");
    expect((await fleet.pull("node-1", "library/app")).errors).toEqual([]);
    hub.push(image, "library/other", "1");
    const held = kind === "blobs" ? image.platforms.get("linux/amd64")?.layers[0]?.digest : image.root.digest;
    const askFor = (method: string) =>
      kind === "blobs"
        ? fleet.blob("library/other", held ?? "", { method })
        : fleet.manifest("library/other", held ?? "", { method });
    const fault = hub.fault({ ...refusal, repository: "library/other" });
    for (const method of ["GET", "HEAD", "GET"]) {
      const reply = await askFor(method);
      expect([method, reply.status, reply.headers["docker-content-digest"]]).toEqual([
        method,
        429,
        undefined,
      ]);
    }
    expect(fault.hits).toBe(1);
    // Once it can be asked, it has it, and no pull is spent.
    fault.remove();
    await fleet.pass(hour + 1);
    hub.counts.reset();
    expect((await askFor("GET")).status).toBe(200);
    expect(hub.counts.charged.total).toBe(0);
  },
);
