/** Every endpoint by every method as everybody: what is answered, decided in one table. A route that is not in it fails. */
import { Hono } from "hono";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { statusPage } from "../../../src/http/page/page.ts";
import { statusListener } from "../../../src/http/status.ts";
import { endpointNames } from "../../../src/oci/target.ts";
import { Metrics } from "../../../src/telemetry/metrics.ts";
import { ask, openReply, type Reply } from "../../support/ask.ts";
import { buildImage } from "../../support/images.ts";
import { openApiSetup } from "../../unit/http/apiServer.ts";
import {
  basic,
  bearer,
  comparable,
  openAccessSetup,
  secrets,
  type AccessSetup,
} from "../../support/accessSetup.ts";

const methods = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"] as const;

const identities = {
  anonymous: {},
  "a wrong token": bearer(secrets.wrong),
  "a wrong password": basic("alice", secrets.wrong),
  "one that a rule names": bearer(secrets.ci),
  "another one of ours": bearer(secrets.other),
  "an account of the upstream": basic("dev", secrets.dev),
  "the admin token": bearer(secrets.admin),
};

type Identity = keyof typeof identities;

const everybody = Object.keys(identities) as Identity[];

/** S13, S14: what each identity gets of a repository. Without proof it is 401; with proof that is not enough, 404. */
const repositories: Readonly<Record<string, Readonly<Record<Identity, 200 | 401 | 404>>>> = {
  "public/app": {
    anonymous: 200,
    "a wrong token": 200,
    "a wrong password": 200,
    "one that a rule names": 200,
    "another one of ours": 200,
    "an account of the upstream": 200,
    "the admin token": 200,
  },
  "private/app": {
    anonymous: 401,
    "a wrong token": 401,
    "a wrong password": 401,
    "one that a rule names": 200,
    "another one of ours": 404,
    "an account of the upstream": 401,
    "the admin token": 401,
  },
  "private/own": {
    anonymous: 401,
    "a wrong token": 401,
    "a wrong password": 401,
    "one that a rule names": 200,
    "another one of ours": 404,
    "an account of the upstream": 401,
    "the admin token": 401,
  },
  "absence/app": {
    anonymous: 401,
    "a wrong token": 401,
    "a wrong password": 401,
    "one that a rule names": 404,
    "another one of ours": 404,
    "an account of the upstream": 401,
    "the admin token": 401,
  },
};

/** The endpoints below a repository's name, with what is asked of each. */
const endpoints: Readonly<Record<string, readonly (() => string)[]>> = {
  manifests: [() => "manifests/1", () => `manifests/${setup.image.root.digest}`],
  blobs: [() => `blobs/${layer()}`],
  tags: [() => "tags/list", () => "tags/list?n=1"],
  referrers: [() => `referrers/${setup.image.root.digest}`],
};

/** S25: to `/v2/` a credential that is wrong is called so; nothing but GET and HEAD is understood anywhere. */
const ping: Readonly<Record<Identity, 200 | 401>> = {
  anonymous: 200,
  "a wrong token": 401,
  "a wrong password": 401,
  "one that a rule names": 200,
  "another one of ours": 200,
  "an account of the upstream": 401,
  "the admin token": 401,
};

const image = "image=docker.io/private/app:1";

interface StatusRoute {
  readonly query?: string;
  /** What a question is answered; 200 unless set. */
  readonly answer?: 404;
  /** Set for what changes something: what the admin token alone is answered. */
  readonly changes?: 200 | 400 | 404;
}

/** S32: the routes of the status listener. What changes something is for the admin token alone. */
const statusRoutes: Readonly<Record<string, StatusRoute>> = {
  "GET /": { query: `?${image}` },
  "GET /live": {},
  "GET /assets/*": {},
  "GET /livez": {},
  "GET /readyz": {},
  "GET /metrics": {},
  "GET /api/v1/openapi.json": {},
  "GET /api/v1/quota": {},
  "GET /api/v1/quota/events": {},
  "GET /api/v1/quota/spend": { query: "?by=repository" },
  "GET /api/v1/explain": { query: `?${image}` },
  "GET /api/v1/cache": {},
  "GET /api/v1/cache/images": {},
  "GET /api/v1/cache/pins": {},
  "PUT /api/v1/cache/pins": { query: "?image=docker.io/public/app", changes: 200 },
  "DELETE /api/v1/cache/pins": { query: "?image=docker.io/public/app", changes: 200 },
  "DELETE /api/v1/cache/images": { query: `?${image}&dryRun=true`, changes: 200 },
  "GET /api/v1/warm": {},
  // There is no such job.
  "GET /api/v1/warm/:id": { answer: 404 },
  "DELETE /api/v1/warm/:id": { changes: 404 },
  "POST /api/v1/warm": { changes: 400 },
  "PUT /api/v1/cache/pins/cluster": { changes: 400 },
  "POST /api/v1/cache/evict": { query: "?dryRun=true", changes: 200 },
  // Without a body there is nothing to rehearse: who may not, does not hear even that.
  "POST /api/v1/rehearse": { changes: 400 },
};

let setup: AccessSetup;

beforeAll(async () => {
  setup = await openAccessSetup({ storage: { pins: ["docker.io/private/app:1", "docker.io/private/*"] } });
});
afterAll(() => setup.close());

function layer(): string {
  return setup.image.platforms.get("linux/amd64")?.layers[0]?.digest ?? "";
}

function well(): undefined {}

/** What answers on the status listener, over nothing. */
async function openFaces() {
  const { api, ...rest } = await openApiSetup();
  const page = statusPage({
    ...rest,
    upstreams: new Map(),
    mirror: { explain: () => Promise.reject(new Error("unreachable")), mayKnow: () => Promise.resolve(true) },
    routing: { upstreams: new Set(), defaultUpstream: "docker.io" },
    eviction: {
      capacity: 0,
      totals: () => Promise.resolve({ bytes: 0, blobs: 0, manifests: 0 }),
      oldestUse: () => Promise.resolve(undefined),
    },
    fills: { running: [] },
    metrics: new Metrics(),
    degraded: well,
  });
  return { api, page };
}

async function statusOf(url: string, method: string, headers: Record<string, string>): Promise<number> {
  const reply = await openReply(url, { method, headers });
  reply.destroy();
  return reply.statusCode ?? 0;
}

function askAs(identity: Identity, path: string, method: string, more = {}): Promise<Reply> {
  return ask(`${setup.hubcap.url}/v2/${path}`, { method, headers: { ...identities[identity], ...more } });
}

test("every endpoint of the registry is in the table", () => {
  // One listener takes all requests, and the grammar knows nothing but these.
  expect(Object.keys(endpoints).toSorted()).toEqual(endpointNames.toSorted());
});

test("every route of the status listener is in the table", async () => {
  const { api, page } = await openFaces();
  const whole = statusListener({
    metrics: new Metrics(),
    unready: well,
    degraded: well,
    api: async () => api,
    page,
  });
  // The API is opened when it is first asked.
  const all = [...whole.routes, ...new Hono().route("/api/v1", api).routes];
  const routes = all.filter(({ method }) => method !== "ALL");
  // What every request passes is no answer; anything else for all methods would be one that the table misses.
  const passed = all.filter(({ method }) => method === "ALL").map(({ path }) => path);
  expect(passed).toEqual(["/*", "/api/v1/*", "/api/v1/*"]);
  const names = new Set(
    routes.map(({ method, path }) => `${method} ${path.replace(/^\/assets\/.+/, "/assets/*")}`),
  );
  expect([...names].toSorted()).toEqual(Object.keys(statusRoutes).toSorted());
});

describe.each(["asked for the first time", "held"])("a repository that is %s", (state) => {
  // The second round meets what the first has brought in: what is held is guarded as what is not.
  const order = state === "held" ? everybody : everybody.toReversed();

  test.each(Object.keys(repositories))("S13, S14: %s", async (name) => {
    const found: string[] = [];
    const expected: string[] = [];
    for (const identity of order) {
      const right = repositories[name]?.[identity] ?? 0;
      for (const path of Object.values(endpoints).flat()) {
        for (const method of methods) {
          const line = `${method} ${name}/${path()} as ${identity}`;
          const { status } = await askAs(identity, `${name}/${path()}`, method);
          found.push(`${line}: ${status}`);
          expected.push(`${line}: ${method === "GET" || method === "HEAD" ? right : 405}`);
        }
      }
      for (const [header, status] of [
        [{ range: "bytes=0-9" }, 206],
        [{ "if-none-match": `"${layer()}"` }, 200],
      ] as const) {
        const line = `GET ${name}/blobs as ${identity} with ${Object.keys(header)[0]}`;
        const reply = await askAs(identity, `${name}/blobs/${layer()}`, "GET", header);
        found.push(`${line}: ${reply.status}`);
        expected.push(`${line}: ${right === 200 ? status : right}`);
      }
    }
    expect(found).toEqual(expected);
  });
});

test.each(everybody)(
  "S14: as %s, a denied answer is that of what is not there, to the letter",
  async (identity) => {
    for (const path of Object.values(endpoints).flat()) {
      for (const method of ["GET", "HEAD"]) {
        const absent = await askAs(identity, `absence/app/${path()}`, method);
        for (const name of ["private/app", "private/own"]) {
          if (repositories[name]?.[identity] === 200) continue;
          const denied = await askAs(identity, `${name}/${path()}`, method);
          expect(comparable(denied, name)).toEqual(comparable(absent, "absence/app"));
        }
      }
    }
  },
);

test("S25: /v2/ tells who is wrong, and understands nothing but GET and HEAD", async () => {
  for (const identity of everybody) {
    for (const method of methods) {
      const reply = await askAs(identity, "", method);
      const right = method === "GET" || method === "HEAD" ? ping[identity] : 405;
      expect([identity, method, reply.status]).toEqual([identity, method, right]);
      expect(reply.headers["www-authenticate"]).toBe(
        right === 401 ? 'Basic realm="hubcap", charset="UTF-8"' : undefined,
      );
    }
  }
});

/** A path of the status listener, with what stands for a part of it filled in. */
async function real(path: string): Promise<string> {
  if (path !== "/assets/*") return path.replace(":id", "none");
  const page = (await ask(setup.hubcap.statusUrl)).body.toString();
  return /\/assets\/[^"]+/.exec(page)?.[0] ?? "";
}

test.each(Object.entries(statusRoutes))("S32: %s", async (route, { query = "", answer = 200, changes }) => {
  const [own, path = ""] = route.split(" ");
  const address = (await real(path)) + query;
  const others = new Set(Object.keys(statusRoutes).filter((other) => other.endsWith(` ${path}`)));
  for (const identity of everybody) {
    for (const method of methods) {
      const isOther =
        method !== own &&
        (others.has(`${method} ${path}`) || (method === "HEAD" && others.has(`GET ${path}`)));
      if (isOther) continue;
      const status = await statusOf(`${setup.hubcap.statusUrl}${address}`, method, identities[identity]);
      const isAdmin = identity === "the admin token";
      const right = method === own ? (changes === undefined ? answer : isAdmin ? changes : 401) : 404;
      expect([identity, method, status]).toEqual([identity, method, right]);
      // None of them is there for those who pull.
      expect([404, 405]).toContain(
        await statusOf(`${setup.hubcap.url}${address}`, method, identities[identity]),
      );
    }
  }
});

test("answers of the status listener tell browsers to do nothing with them", async () => {
  for (const path of ["/livez", "/metrics", "/api/v1/quota", "/api/v1/explain", "/nothing"]) {
    const { headers } = await ask(setup.hubcap.statusUrl + path);
    expect([path, headers]).toMatchObject([
      path,
      {
        "content-security-policy": expect.stringContaining("default-src 'none'") as unknown,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
      },
    ]);
  }
});

test("S32: without an admin token there is nothing that changes anything", async () => {
  const { api } = await openApiSetup();
  for (const [route, { query = "", changes }] of Object.entries(statusRoutes)) {
    if (changes === undefined) continue;
    const [method = "", path = ""] = route.split(" ");
    for (const headers of Object.values(identities)) {
      const response = await api.request(path.replace("/api/v1", "") + query, { method, headers });
      expect([route, response.status]).toEqual([route, 404]);
    }
  }
});

test("the status listener names private repositories to the operator alone", async () => {
  const read = async (path: string, identity: Identity): Promise<string> =>
    (
      await ask(`${setup.hubcap.statusUrl}/api/v1/${path}`, { headers: identities[identity] })
    ).body.toString();
  const hidden = await read(`explain?${image}`, "anonymous");
  expect(hidden.replaceAll("private/app", "absence/app")).toBe(
    await read("explain?image=docker.io/absence/app:1", "anonymous"),
  );
  expect(JSON.parse(await read(`explain?${image}`, "the admin token"))).toMatchObject({
    digest: setup.image.root.digest,
  });
  // The page is for everybody who reaches it, and the last requests that failed are on it.
  const page = (await ask(setup.hubcap.statusUrl)).body.toString();
  expect([page.includes("(private)"), page.includes("private/app")]).toEqual([true, false]);
  const asked = (await ask(`${setup.hubcap.statusUrl}/?${image}`)).body.toString();
  expect(asked).not.toContain(setup.image.root.digest);
  setup.hub.push(await buildImage({ seed: "another image", layers: 1 }), "private/app", "2");
  await askAs("one that a rule names", "private/app/manifests/2", "GET");
  for (const path of ["cache/images", "quota/spend?by=repository"]) {
    for (const identity of everybody) {
      const text = await read(path, identity);
      expect([identity, text.includes("public/app")]).toEqual([identity, true]);
      expect([identity, text.includes("private/app")]).toEqual([identity, identity === "the admin token"]);
    }
  }
});

test("no answer of the status listener names a private repository to anybody else", async () => {
  await askAs("one that a rule names", "private/app/manifests/1", "GET");
  await askAs("another one of ours", "private/app/manifests/1", "GET");
  const questions = Object.keys(statusRoutes).filter((route) => route.startsWith("GET "));
  // An explanation says again what it was asked.
  for (const route of questions.filter((question) => question !== "GET /api/v1/explain")) {
    const { query = "" } = route === "GET /" ? {} : (statusRoutes[route] ?? {});
    const url = setup.hubcap.statusUrl + (await real(route.slice("GET ".length))) + query;
    const signal = AbortSignal.timeout(3000);
    // Streams are read until then.
    const { body } = await ask(url, { signal });
    expect([route, /private\/\w+/.exec(body.toString())?.[0]]).toEqual([route, undefined]);
  }
});

test("S30: what clients show is in no log line, metric or answer, and pulls are the shared account's", async () => {
  await expect.poll(() => setup.hubcap.metric("hubcap_requests_total")).toBeGreaterThan(0);
  const shown = [
    JSON.stringify(setup.hubcap.logs()),
    setup.hubcap.errors,
    (await ask(`${setup.hubcap.statusUrl}/metrics`)).body.toString(),
    (await ask(`${setup.hubcap.statusUrl}/api/v1/quota/spend?by=client`)).body.toString(),
  ].join("\n");
  for (const secret of Object.values(secrets)) expect(shown).not.toContain(secret);
  for (const { authorization = "" } of Object.values(identities) as { authorization?: string }[]) {
    const [, sent = "never"] = authorization.split(" ");
    expect(shown).not.toContain(sent);
  }
  expect(Object.keys(setup.hub.counts.charged.byAccount)).toEqual(["cluster"]);
  expect(setup.hubcap.logs().some(({ identity }) => identity === "token:ci")).toBe(true);
});
