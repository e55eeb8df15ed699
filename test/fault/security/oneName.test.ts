/** A repository that its upstream refuses is refused alone, whoever asks for it. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ask } from "../../support/ask.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";
import { openSetup, type Setup } from "../../support/setup.ts";

const credential = { username: "cluster", password: "secret" };

let hub: Hub;
let hubcap: Hubcap;

beforeEach(async () => {
  hub = await startHub({ accounts: { cluster: { password: "secret", limit: 200 } } });
  hubcap = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub, { credential }) } } });
});

afterEach(async () => {
  await hubcap.dispose();
  await hub.stop();
});

async function pull(name: string): Promise<number> {
  return (await ask(`${hubcap.url}/v2/${name}/manifests/1`)).status;
}

async function pullNew(name: string): Promise<number> {
  hub.push(await buildImage({ seed: name }), name, "1");
  return pull(name);
}

test.each([
  ["after the account has worked", true],
  ["before it ever has", false],
])(
  "a token service that answers 401 for repositories that it hides locks no login, %s",
  async (_, hasWorked) => {
    if (hasWorked) await pullNew("library/before");
    hub.fault({ origin: "token", path: /hidden/, kind: "status", status: 401 });
    for (let number = 0; number < 10; number += 1) expect(await pull(`evil/hidden-${number}`)).toBe(403);
    const own = hub.counts.requests.filter(
      ({ origin, path }) => origin === "token" && !path.includes("scope="),
    );
    expect(own).toHaveLength(1);
    for (let number = 0; number < 5; number += 1) expect(await pullNew(`library/after-${number}`)).toBe(200);
  },
);

test("a password that is wrong is tried twice, and then left alone", async () => {
  await hubcap.dispose();
  const wrong = { username: "cluster", password: "wrong" };
  hubcap = await startHubcap({
    config: { upstreams: { "docker.io": upstreamOf(hub, { credential: wrong }) } },
  });
  for (let number = 0; number < 10; number += 1) expect(await pullNew(`library/app-${number}`)).toBe(403);
  expect(hub.counts.requests.filter(({ origin }) => origin === "token")).toHaveLength(2);
});

/** Logins of our own, which name no repository. */
const own = (auth: "bearer" | "basic") =>
  hub.counts.requests.filter(({ origin, path, headers }) =>
    auth === "basic"
      ? path === "/v2/" && headers.authorization !== undefined
      : origin === "token" && !path.includes("scope="),
  );

describe.each(["basic", "bearer"] as const)("%s", (auth) => {
  let setup: Setup;

  beforeEach(async () => {
    await hubcap.dispose();
    await hub.stop();
    setup = await openSetup({
      hub: { accounts: { cluster: { password: "secret", limit: 5000 } }, auth, failuresAllowed: 1000 },
      upstream: { credential, quota: { limit: 5000, window: "6h" } },
      config: { limits: { misses: { burst: 1000 } } },
    });
    ({ hub, hubcap } = setup);
  });

  test("hidden names lock no login, however many there are", async () => {
    expect(await pullNew("library/before")).toBe(200);
    hub.fault({ path: /hidden/, kind: "status", status: 401 });
    for (let number = 0; number < 40; number += 1) expect(await pull(`evil/hidden-${number}`)).toBe(403);
    expect(own(auth).length).toBeLessThan(8);
    for (let number = 0; number < 5; number += 1) expect(await pullNew(`library/after-${number}`)).toBe(200);
    expect(JSON.stringify(hubcap.logs())).not.toContain("credential-refused");
  });

  test("200 names after the secret was changed are a few failed logins, and the first one after a pause is our own", async () => {
    expect(await pullNew("library/before")).toBe(200);
    hub.accounts.setPassword("cluster", "changed");
    const statuses = await Promise.all(
      Array.from({ length: 200 }, (_, number) => pull(`library/app-${number}`)),
    );
    expect(new Set(statuses)).toEqual(new Set([403]));
    // Those that were under way when the first was refused.
    expect(hub.accounts.failedLogins).toBeLessThan(20);
    const before = hub.accounts.failedLogins;
    hub.accounts.setPassword("cluster", "secret");
    hub.counts.reset();
    await setup.advance(61_000);
    expect(await pullNew("library/after")).toBe(200);
    expect(own(auth)).toHaveLength(1);
    expect(hub.accounts.failedLogins).toBe(before);
  });
});
