/** One thing that its upstream limits for hours is held back alone; what an upstream says of all holds for all. */
import { setTimeout as wait } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { abuseFault } from "../../support/faults.ts";
import { upstreamOf } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";
import { openSetup, type Setup } from "../../support/setup.ts";
import { askEvery20Ms } from "../../support/underAttack.ts";

const hour = 3600;

/** What a central Hubcap answers that has no pulls left, or a registry that limits one repository. */
const limited = {
  kind: "status",
  status: 429,
  headers: { "content-type": "application/json", "retry-after": String(6 * hour) },
  body: JSON.stringify({ errors: [{ code: "TOOMANYREQUESTS", message: "no pull is left of 200 in 6 h" }] }),
} as const;

let setup: Setup;

beforeEach(async () => {
  setup = await openSetup({ hub: { limit: 1000 } });
  await restart();
});
afterEach(() => setup.close());

function restart(): Promise<void> {
  const upstream = upstreamOf(setup.hub);
  return setup.restart({ upstreams: { "docker.io": upstream, "registry.example": upstream } });
}

async function pullNew(ns: string, repository: string, tag: string) {
  const image = await buildImage({ seed: `${ns}/${repository}:${tag}`, platforms: ["linux/amd64"] });
  setup.hub.push(image, repository, tag);
  const { status, headers } = await setup.manifest(repository, tag, { ns });
  return { status, retryAfter: Number(headers["retry-after"] ?? 0) };
}

test.each(["docker.io", "registry.example"])(
  "96 cold pulls of %s succeed, half of them after a restart, though it limits one image for six hours",
  async (ns) => {
    for (let number = 0; number < 8; number += 1) await pullNew(ns, `team/app-${number}`, "first");
    const fault = setup.hub.fault({ ...limited, path: /\/v2\/team\/app-3\/manifests\/limited$/ });
    const statuses: number[] = [];
    const pull48 = async (name: string): Promise<void> => {
      const stop = askEvery20Ms(() => `${setup.hubcap.url}/v2/team/app-3/manifests/limited?ns=${ns}`);
      await wait(300);
      // Some of them of the very repository.
      for (let number = 0; number < 48; number += 1)
        statuses.push((await pullNew(ns, `team/app-${number % 8}`, `${name}-${number}`)).status);
      await stop();
    };
    await pull48("before");
    await restart();
    await pull48("after");
    expect(statuses).toEqual(Array(96).fill(200));
    // One request for each process: it is held back for as long as it may be.
    expect(fault.hits).toBe(2);
    const { headers } = await setup.manifest("team/app-3", "limited", { ns });
    expect(Number(headers["retry-after"])).toBeGreaterThan(hour - 60);
    expect(Number(headers["retry-after"])).toBeLessThanOrEqual(hour);
  },
);

test.each([
  ["all requests, its ping too", { ...limited, origin: "registry" }],
  ["what was requested as it limits abuse", { ...abuseFault, path: /\/v2\/team\/limited\// }],
  [
    "what was requested and says that no pulls remain",
    {
      ...limited,
      headers: {
        ...limited.headers,
        "ratelimit-limit": "1000;w=21600",
        "ratelimit-remaining": "0;w=21600",
      },
      path: /\/v2\/team\/limited\//,
      method: "GET",
    },
  ],
] as const)("a registry that limits %s is asked for nothing else, after a restart too", async (_, fault) => {
  const ns = "docker.io";
  await pullNew(ns, "team/first", "1");
  await pullNew(ns, "team/limited", "1");
  const struck = setup.hub.fault(fault);
  expect((await pullNew(ns, "team/limited", "2")).status).toBe(429);
  await expect.poll(async () => (await pullNew(ns, "team/other", "1")).status).toBe(429);
  const { hits } = struck;
  for (let round = 0; round < 2; round += 1) {
    setup.hub.counts.reset();
    const { status, retryAfter } = await pullNew(ns, `team/other-${round}`, "1");
    expect(status).toBe(429);
    expect(retryAfter).toBeLessThanOrEqual(hour);
    expect(setup.hub.counts.manifestGets.total).toBe(0);
    await restart();
  }
  expect(struck.hits).toBe(hits);
});
