/** Docker Hub's limit on requests of any kind: all of them pause for as long as it asks, and clients see no 5xx. */
import { afterEach, expect, test } from "vitest";
import { abuseFault, bareAbuseFault, type Fault } from "../../support/faults.ts";
import { openFleet, type Fleet } from "../../support/fleet.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { upstreamOf } from "../../support/hubcap.ts";
import { pullLikeContainerd } from "../../support/pull.ts";

let fleet: Fleet | undefined;
let second: Hub | undefined;

afterEach(async () => {
  await fleet?.close();
  await second?.stop();
});

/** A fleet with a second upstream, for which nothing is wrong. */
async function open(): Promise<{ fleet: Fleet; other: Hub }> {
  const other = await startHub({ limit: "unlimited" });
  second = other;
  const opened = await openFleet({
    config: { freshness: { tagTtl: "0s" } },
    others: { "quay.io": upstreamOf(other) },
  });
  fleet = opened;
  return { fleet: opened, other };
}

const kinds: readonly (readonly [name: string, seconds: number, fault: Fault])[] = [
  ["as it is sent today", 60, abuseFault],
  [
    "with a longer Retry-After",
    600,
    { ...abuseFault, headers: { ...abuseFault.headers, "retry-after": "600" } },
  ],
  [
    "with a shorter Retry-After",
    60,
    { ...abuseFault, headers: { ...abuseFault.headers, "retry-after": "1" } },
  ],
  ["without a Retry-After", 60, { ...abuseFault, headers: { "content-type": "text/plain" } }],
  ["in the malformed form of 2020", 60, bareAbuseFault],
];

test.each(kinds)("the abuse limit %s pauses everything for %i s", async (_, seconds, fault) => {
  const { fleet, other } = await open();
  const { hub, hubcap } = fleet;
  await fleet.push("library/held");
  const image = await fleet.push("library/app");
  const config = image.platforms.get("linux/amd64")?.config.digest ?? "";
  other.push(image, "other/app", "1");
  expect((await fleet.pull("node-1", "library/held")).errors).toEqual([]);
  hub.counts.reset();

  const struck = hub.fault({ ...fault, origin: "registry" });
  const questions = [
    () => fleet.manifest("library/app", "1", { method: "HEAD" }),
    () => fleet.manifest("library/app", "1"),
    () => fleet.manifest("library/app", image.root.digest),
    () => fleet.blob("library/app", config, { method: "HEAD" }),
    () => fleet.blob("library/app", config),
  ];
  for (const question of questions) {
    const { status, headers } = await question();
    expect(status).toBe(429);
    expect(Number(headers["retry-after"])).toBeLessThanOrEqual(seconds);
    expect(Number(headers["retry-after"])).toBeGreaterThan(seconds - 20);
  }
  const held = await fleet.pull("node-2", "library/held");
  expect([held.errors, [...held.warnings].length]).toEqual([[], 1]);
  await fleet.pass(seconds - 20);
  for (const question of questions) expect((await question()).status).toBe(429);
  // Nothing but the first question was heard, and the token that it needed.
  expect(struck.hits).toBe(1);
  expect(hub.counts.requests.filter(({ origin }) => origin !== "token")).toHaveLength(1);
  expect(await hubcap.metric("hubcap_quota_refused_total", { upstream: "docker.io" })).toBeGreaterThan(0);

  // Other upstreams are none of its business.
  const elsewhere = { mirror: hubcap.url, ns: "quay.io", repository: "other/app", reference: "1" };
  expect((await pullLikeContainerd(elsewhere)).errors).toEqual([]);

  struck.remove();
  await fleet.pass(20);
  expect((await fleet.pull("node-1", "library/app")).errors).toEqual([]);
});
