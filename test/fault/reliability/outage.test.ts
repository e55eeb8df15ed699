/** Cases R27 and R28: what is held is served whatever the upstream does, and no client waits for what is not. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask } from "../../support/ask.ts";
import { makeAuthority } from "../../support/certificates.ts";
import { digestOf } from "../../support/content.ts";
import type { FaultAction } from "../../support/faults.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { upstreamOf, type WrittenConfig } from "../../support/hubcap.ts";
import { openSetup, type Setup, type Pushed } from "../../support/setup.ts";

const minute = 60_000;

interface Outage {
  /** A source host of its own, so that no outage is taken for another. */
  readonly host: string;
  readonly what: string;
  /** What the stand-in does, for outages of a registry that is there. */
  readonly fault?: FaultAction;
  /** The metric's word. Default `unreachable`. */
  readonly reason?: string;
  /** The status without anything held. Default 503. */
  readonly uncached?: number;
}

const outages: readonly Outage[] = [
  { host: "500.test", what: "answers 500", fault: { kind: "status", status: 500 } },
  { host: "502.test", what: "answers 502", fault: { kind: "status", status: 502 } },
  { host: "503.test", what: "answers 503", fault: { kind: "status", status: 503 } },
  { host: "504.test", what: "answers 504", fault: { kind: "status", status: 504 } },
  { host: "reset.test", what: "breaks every connection", fault: { kind: "reset" } },
  { host: "hang.test", what: "does not answer", fault: { kind: "hang" } },
  { host: "dns.test", what: "has no address" },
  { host: "refused.test", what: "refuses connections" },
  { host: "tls.test", what: "does not speak TLS" },
  {
    host: "certificate.test",
    what: "shows a certificate of a stranger",
    reason: "corrupt",
    uncached: 502,
  },
];

let setup: Setup;
let stranger: Hub;
let pushed: Pushed;

/** A configuration in which each source host is where it is before or during its outage. */
function configuration(down: boolean): WrittenConfig {
  const addresses: Record<string, string> = {
    "dns.test": "http://registry.invalid",
    "refused.test": "http://127.0.0.1:1",
    "tls.test": setup.hub.url.replace("http:", "https:"),
    "certificate.test": stranger.url,
  };
  const upstreams = Object.fromEntries(
    outages.map(({ host }) => {
      const url = down ? (addresses[host] ?? setup.hub.url) : setup.hub.url;
      return [host, upstreamOf(setup.hub, { url })];
    }),
  );
  return { defaultUpstream: "500.test", upstreams };
}

beforeAll(async () => {
  const certificate = makeAuthority().issue({ names: ["127.0.0.1"] });
  stranger = await startHub({ tls: certificate });
  setup = await openSetup();
  await setup.restart(configuration(false));
  for (const { host } of outages) {
    pushed = await setup.push(`team/${host}`, { seed: "the same for all" });
    await setup.manifest(`team/${host}`, "1", { ns: host });
  }
  await setup.restart(configuration(true));
  for (const { host, fault } of outages) {
    if (fault !== undefined) setup.hub.fault({ ...fault, repository: `team/${host}` });
  }
  await setup.advance(6 * minute);
});
afterAll(async () => {
  await setup.close();
  await stranger.stop();
});

describe("an upstream that", () => {
  // At once, because one of them takes its 15 seconds. Each answer must have begun after 30.
  it.concurrent.for(outages)(
    "R27 $what: its tag is served stale",
    async ({ host, reason = "unreachable" }, { expect }) => {
      const reply = await setup.manifest(`team/${host}`, "1", { ns: host });
      expect(reply.status).toBe(200);
      expect(reply.body).toEqual(pushed.image.manifests.get(pushed.image.root.digest)?.bytes);
      expect(Number(reply.headers.age)).toBeGreaterThanOrEqual((6 * minute) / 1000);
      expect(reply.headers.warning).toMatch(/^299 - ".+"$/);
      const served = await setup.hubcap.metric("hubcap_stale_served_total", { upstream: host, reason });
      expect(served).toBe(1);
    },
  );

  it.concurrent.for(outages)(
    "R28 $what: what is not held is refused",
    async ({ host, uncached = 503 }, { expect }) => {
      const asked = ["manifests/unknown", `blobs/${digestOf(host)}`].map((what) =>
        ask(`${setup.hubcap.url}/v2/team/${host}/${what}?ns=${host}`, { headerTimeout: 30_000 }),
      );
      for (const { status, headers } of await Promise.all(asked)) {
        expect(status).toBe(uncached);
        if (uncached === 503) expect(Number(headers["retry-after"])).toBeGreaterThan(0);
      }
    },
  );

  it.concurrent("R28 does not answer: a blob is refused as fast in each of three repositories", async ({
    expect,
  }) => {
    setup.hub.fault({ kind: "hang", path: /^\/v2\/team\/hang[0-9]\// });
    const asked = [1, 2, 3].map((number) =>
      ask(`${setup.hubcap.url}/v2/team/hang${number}/blobs/${digestOf("in three")}?ns=hang.test`, {
        headerTimeout: 30_000,
      }),
    );
    expect((await Promise.all(asked)).map(({ status }) => status)).toEqual([503, 503, 503]);
  });
});

describe("an upstream that is known to be down", () => {
  it("R27 keeps no client waiting, not even the one whose request finds out whether it is back", async () => {
    const host = "500.test";
    for (let failure = 0; failure < 5; failure += 1) {
      await setup.manifest(`team/${host}`, `unknown${failure}`, { ns: host });
    }
    setup.hub.faults.clear();
    setup.hub.fault({ kind: "hang", repository: `team/${host}` });
    await setup.advance(5000);
    const replies = await Promise.all(
      Array.from({ length: 10 }, () =>
        setup.manifest(`team/${host}`, "1", { ns: host, headerTimeout: 10_000 }),
      ),
    );
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
  });
});
