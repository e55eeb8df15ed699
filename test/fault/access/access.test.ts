/** Who may pull: what is private stays so, whatever the upstream does and however somebody asks. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { hash } from "bcrypt";
import Database from "better-sqlite3";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { ask, type Reply } from "../../support/ask.ts";
import type { HubOptions } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type WrittenConfig } from "../../support/hubcap.ts";
import {
  basic,
  bearer,
  openAccessSetup,
  secrets,
  type AccessSetup,
  type Headers,
} from "../../support/accessSetup.ts";
import { patience } from "../../support/patience.ts";

async function open(changes?: WrittenConfig, hubOptions?: HubOptions): Promise<AccessSetup> {
  const setup = await openAccessSetup(changes, hubOptions);
  onTestFinished(() => setup.close());
  return setup;
}

const ci = bearer(secrets.ci);

function askTag({ hubcap }: AccessSetup, name: string, headers: Headers = {}): Promise<Reply> {
  return ask(`${hubcap.url}/v2/${name}/manifests/1`, { headers });
}

async function statusesOf(setup: AccessSetup, name: string, ...all: readonly Headers[]): Promise<number[]> {
  const statuses: number[] = [];
  for (const headers of all) statuses.push((await askTag(setup, name, headers)).status);
  return statuses;
}

/** The rows of what is known of repositories: name, public, when. */
function visibility({ hubcap }: AccessSetup): { repository: string; public: number; checked_at: number }[] {
  const state = new Database(join(hubcap.root, "state.sqlite"), { readonly: true });
  try {
    return state.prepare("SELECT * FROM visibility ORDER BY repository").all() as ReturnType<
      typeof visibility
    >;
  } finally {
    state.close();
  }
}

/** Makes everything that is known of repositories this old. */
async function age(setup: AccessSetup, ms: number): Promise<void> {
  await setup.hubcap.stop();
  for (const [file, table] of [
    ["state.sqlite", "visibility"],
    ["catalog.sqlite", "tag"],
  ] as const) {
    const database = new Database(join(setup.hubcap.root, file));
    database.prepare(`UPDATE ${table} SET checked_at = checked_at - ?`).run(ms);
    database.close();
  }
  await setup.hubcap.start();
}

function from(address: string): Headers {
  return { "x-forwarded-for": address };
}

const hours = 60 * 60 * 1000;

describe("what is private", () => {
  test("is found out by one free question, which no account pays for", async () => {
    const setup = await open();
    const { hub } = setup;
    expect(await statusesOf(setup, "public/app", {}, {}, ci)).toEqual([200, 200, 200]);
    const heads = hub.counts.requests.filter(
      ({ account, kind }) => kind === "manifest" && account === "anonymous",
    );
    expect(heads.map(({ method }) => method)).toEqual(["HEAD"]);
    expect(hub.counts.charged.byAccount).toEqual({ cluster: 1 });
    const before = hub.counts.requests.length;
    await ask(`${setup.hubcap.url}/v2/public/app/manifests/1`);
    expect(hub.counts.requests.length).toBe(before);
  });

  test("is marked when it is fetched, and made-up names are not", async () => {
    const setup = await open();
    expect(await statusesOf(setup, "private/app", ci)).toEqual([200]);
    await statusesOf(setup, "public/app", {});
    await statusesOf(setup, "made-up/one", {}, bearer(secrets.other));
    await expect.poll(() => visibility(setup)).toHaveLength(2);
    expect(visibility(setup)).toMatchObject([
      { repository: "private/app", public: 0 },
      { repository: "public/app", public: 1 },
    ]);
  });

  test("stays so over a restart, and while the upstream is down (S37)", async () => {
    const setup = await open();
    await statusesOf(setup, "private/app", ci);
    await statusesOf(setup, "public/app", {});
    await setup.hubcap.restart();
    for (const fault of [
      { kind: "status", status: 500 },
      { kind: "status", status: 429, headers: { "retry-after": "60" } },
      { kind: "reset" },
    ] as const) {
      setup.hub.faults.clear();
      setup.hub.fault(fault);
      for (const name of ["private/app", "made-up/one"]) {
        const { status, body } = await askTag(setup, name);
        expect([429, 503]).toContain(status);
        expect(body.toString()).not.toContain("sha256");
      }
      expect(await statusesOf(setup, "public/app", {})).toEqual([200]);
      expect(await statusesOf(setup, "private/app", ci)).toEqual([200]);
    }
  });

  test("is noticed within hours when it was public before", async () => {
    const setup = await open();
    await statusesOf(setup, "public/app", {});
    setup.hub.shelf.restrict("public/app", ["cluster"]);
    expect(await statusesOf(setup, "public/app", {})).toEqual([200]);
    await age(setup, 7 * hours);
    expect(await statusesOf(setup, "public/app", {}, bearer(secrets.other), {})).toEqual([401, 404, 401]);
    expect(visibility(setup)).toMatchObject([{ public: 0 }]);
    const [layer] = setup.image.platforms.get("linux/amd64")?.layers ?? [];
    for (const path of [`manifests/${setup.image.root.digest}`, `blobs/${layer?.digest}`, "tags/list"]) {
      expect((await ask(`${setup.hubcap.url}/v2/public/app/${path}`)).status).toBe(401);
    }
  });

  test("is believed to be public on, when the upstream cannot say that this has changed", async () => {
    const setup = await open();
    await statusesOf(setup, "public/app", {});
    await age(setup, 7 * hours);
    setup.hub.fault({ kind: "status", status: 503 });
    expect(await statusesOf(setup, "public/app", {})).toEqual([200]);
  });

  test.each(["none", "basic"] as const)(
    "is distinguished from a tag that is not there, by a registry that asks for %s",
    async (auth) => {
      const setup = await open({}, { auth });
      setup.hub.push(setup.image, "public/other", "2");
      const statuses = await statusesOf(setup, "public/other", ci, bearer(secrets.other));
      // To who shows no password, a registry that wants one hides everything.
      expect(statuses).toEqual([404, 404]);
      expect((await ask(`${setup.hubcap.url}/v2/public/other/manifests/2`)).status).toBe(
        auth === "none" ? 200 : 401,
      );
    },
  );

  test("does not make a repository private that lacks a tag", async () => {
    const setup = await open();
    const { status } = await ask(`${setup.hubcap.url}/v2/public/app/manifests/2`);
    expect(status).toBe(404);
    expect(visibility(setup)).toMatchObject([{ repository: "public/app", public: 1 }]);
  });
});

describe("the rules", () => {
  test("count in order, the first that fits", async () => {
    const setup = await open({
      access: [
        { who: ["user:alice"], repositories: ["private/app"], allow: "deny" },
        { who: ["*"], repositories: ["private/app"], allow: "pull" },
        { who: ["*"], upstream: "docker.io", repositories: ["public/**"], allow: "deny" },
      ],
    });
    const alice = basic("alice", secrets.alice);
    expect(await statusesOf(setup, "private/app", {}, ci, alice)).toEqual([200, 200, 404]);
    expect(await statusesOf(setup, "private/own", {}, ci, alice)).toEqual([401, 404, 404]);
    expect(await statusesOf(setup, "public/app", {}, ci, alice)).toEqual([401, 404, 404]);
    // What no client may have is not even asked for.
    expect(setup.hub.counts.requests.filter(({ repository }) => repository === "public/app")).toEqual([]);
  });

  test("of none keep what is private from everybody", async () => {
    const setup = await open({ access: [] });
    expect(await statusesOf(setup, "public/app", {}, ci)).toEqual([200, 200]);
    expect(await statusesOf(setup, "private/app", {}, ci)).toEqual([401, 404]);
  });

  test("are off where there are none, which is said", async () => {
    const setup = await open({ access: undefined });
    expect(await statusesOf(setup, "private/app", {}, bearer("whatever"))).toEqual([200, 200]);
    expect(setup.hub.counts.requests.filter(({ account }) => account === "anonymous")).toEqual([]);
    const line = await setup.hubcap.logged(({ level }) => level === "warn");
    expect(line).toMatchObject({
      upstream: "docker.io",
      msg: expect.stringContaining("set access") as unknown,
    });
  });

  test("go by networks, and by the word of a proxy only where it is trusted", async () => {
    const rules = {
      access: [{ who: ["network:192.0.2.0/24", "network:2001:db8::/32"], allow: "pull" }],
      identities: {},
    };
    const setup = await open(rules);
    expect(await statusesOf(setup, "private/app", {}, from("192.0.2.7"))).toEqual([404, 404]);
    await setup.restart({ ...rules, identities: { trustedProxies: ["127.0.0.0/8", "198.51.100.1"] } });
    expect(
      await statusesOf(
        setup,
        "private/app",
        {},
        from("192.0.2.7"),
        from("2001:db8::1"),
        from("192.0.2.7, 198.51.100.1"),
        from("192.0.2.7, 203.0.113.9"),
        from("192.0.2.7, nonsense"),
        from("203.0.113.9"),
      ),
    ).toEqual([404, 200, 200, 200, 404, 404, 404]);
    await setup.restart({ access: [{ who: ["network:127.0.0.1"], allow: "pull" }], identities: {} });
    expect(await statusesOf(setup, "private/app", {})).toEqual([200]);
  });

  test("follow their files: a token that is replaced, a password that is changed", async () => {
    const setup = await open();
    const alice = basic("alice", secrets.alice);
    expect(await statusesOf(setup, "private/app", ci, alice)).toEqual([200, 200]);
    await writeFile(join(setup.folder, "ci"), `${secrets.wrong}\nanother\n`);
    await writeFile(join(setup.folder, "htpasswd"), `alice:${await hash("changed", 4)}`);
    await vi.waitUntil(async () => (await askTag(setup, "private/app", ci)).status === 401, patience);
    await vi.waitUntil(async () => (await askTag(setup, "private/app", alice)).status === 401, patience);
    const now = [bearer("another"), basic("any", secrets.wrong), basic("alice", "changed")];
    expect(await statusesOf(setup, "private/app", ...now)).toEqual([200, 200, 200]);
    await writeFile(join(setup.folder, "htpasswd"), "alice:changed\n");
    const line = await setup.hubcap.logged(({ level }) => level === "error");
    expect(line["msg"]).toMatch(/htpasswd cannot be used, .* line 1 is not user:hash with bcrypt/);
    expect(await statusesOf(setup, "private/app", ...now)).toEqual([200, 200, 200]);
  });

  test("that can never fit, and files that are no such files, are mistakes in the configuration", async () => {
    const setup = await open();
    const bad = join(setup.folder, "bad");
    await writeFile(bad, "alice:$apr1$abc$def\n");
    const upstreams = { "docker.io": upstreamOf(setup.hub) };
    const starting = startHubcap({ config: { upstreams, identities: { htpasswdFile: bad }, access: [] } });
    await expect(starting).rejects.toThrow(
      /ended with 78 [^]*identities\.htpasswdFile: got ".*bad".*line 1 is not/,
    );
    const access = [
      { who: ["token:nobody"], allow: "pull" },
      { who: ["user:alice", "certificate:node", "network:10.0.0.0/33"], upstream: "ghcr.io", allow: "pull" },
    ];
    await expect(startHubcap({ config: { upstreams, access } })).rejects.toThrow(/network:CIDR[^]*1 mistake/);
    access[1]?.who.pop();
    await expect(startHubcap({ config: { upstreams, access } })).rejects.toThrow(
      /access\.0\.who\.0: [^]*access\.1\.upstream: [^]*access\.1\.who\.0: [^]*access\.1\.who\.1: [^]*4 mistakes/,
    );
  });
});

describe("passwords", () => {
  test("let a whole pull through with one check", async () => {
    const setup = await open();
    await writeFile(join(setup.folder, "htpasswd"), `alice:${await hash(secrets.alice, 12)}`);
    await setup.restart({});
    const alice = basic("alice", secrets.alice);
    expect(await statusesOf(setup, "private/app", alice)).toEqual([200]);
    // More at once than an address may have checked.
    const many = await Promise.all(Array.from({ length: 100 }, () => askTag(setup, "private/app", alice)));
    expect(new Set(many.map(({ status }) => status))).toEqual(new Set([200]));
  });

  test("that are wrong do not burn the CPU: others are still served", async () => {
    const setup = await open();
    await writeFile(join(setup.folder, "htpasswd"), `alice:${await hash(secrets.alice, 12)}`);
    await setup.restart({});
    await statusesOf(setup, "public/app", {});
    const wrong = Array.from({ length: 200 }, (_, n) =>
      askTag(setup, "private/app", basic("alice", `guess ${n}`)),
    );
    expect(await statusesOf(setup, "public/app", {}, {}, {})).toEqual([200, 200, 200]);
    const statuses = (await Promise.all(wrong)).map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([401, 503]));
    expect(statuses.filter((status) => status === 401).length).toBeLessThan(50);
  });
});

test("a password that is valid at the upstream is not sent there, and opens nothing", async () => {
  const setup = await open();
  expect(await statusesOf(setup, "private/app", basic("dev", secrets.dev), ci)).toEqual([401, 200]);
  expect(setup.hub.counts.requests.filter(({ account }) => account === "dev")).toEqual([]);
});

test("a challenge at /v2/ is for clients that show nothing before", async () => {
  const setup = await open();
  const pings = async (): Promise<number[]> => {
    const all = [{}, ci, bearer(secrets.wrong)];
    return Promise.all(
      all.map(async (headers) => (await ask(`${setup.hubcap.url}/v2/`, { headers })).status),
    );
  };
  expect(await pings()).toEqual([200, 200, 401]);
  const file = join(setup.folder, "ci");
  await setup.restart({ identities: { tokens: [{ name: "ci", file }], challenge: "always" }, access: [] });
  expect(await pings()).toEqual([401, 200, 401]);
  expect(await statusesOf(setup, "public/app", {})).toEqual([200]);
});
