/** Where the credential goes, and where nothing that is ours or the client's may go. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { ask, type Reply } from "../../support/ask.ts";
import { canaryOf } from "../../support/canary.ts";
import { allBytes } from "../../support/content.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage, type Image } from "../../support/images.ts";
import { pullLikeContainerd } from "../../support/pull.ts";

const secret = canaryOf("credential");
const basic = Buffer.from(`cluster:${secret}`).toString("base64");

let hub: Hub;
let stranger: Hub;
let hubcap: Hubcap;
let image: Image;
let realm: string;

beforeAll(async () => {
  hub = await startHub({ accounts: { cluster: { password: secret } } });
  stranger = await startHub({ auth: "none" });
  realm = hub.behaviour.realm;
  image = await buildImage();
  for (const repository of ["team/app", "team/blobs", "team/canary"]) {
    hub.push(image, repository, "1");
    // So that only the account can pull, and a pull proves that its credential was shown.
    hub.shelf.restrict(repository, ["cluster"]);
  }
  const credential = { username: "cluster", password: secret };
  const honest = upstreamOf(hub, { credential });
  hubcap = await startHubcap({
    config: {
      upstreams: {
        "docker.io": honest,
        // What a challenge says is remembered, so each test that spoils one has an upstream of its own.
        "realm.test": honest,
        "lookalike.test": honest,
        "hub.test": upstreamOf(hub, { credential, tokenRealms: ["https://auth.docker.io"] }),
        "token.test": honest,
        "wrong.test": upstreamOf(hub, { credential: { username: "cluster", password: `${secret}-old` } }),
      },
    },
  });
});

afterAll(async () => {
  await hubcap.dispose();
  await Promise.all([hub.stop(), stranger.stop()]);
});

afterEach(() => {
  hub.faults.clear();
  hub.behaviour.realm = realm;
  hub.counts.reset();
  stranger.counts.reset();
});

function askTag(path: string, tag = "1"): Promise<Reply> {
  return ask(`${hubcap.url}/v2/${path}/manifests/${tag}`);
}

/** Whether a request anywhere carried the credential. */
function credentialShown(): boolean {
  const requests = [...hub.counts.requests, ...stranger.counts.requests];
  return requests.some(({ headers, path }) => `${headers.authorization} ${path}`.includes(basic));
}

test("S1: a realm that is not allowed gets no request, and the credential is sent nowhere", async () => {
  hub.behaviour.realm = `${stranger.tokenService.url}/token`;
  const refused = await askTag("realm.test/team/app");
  expect(refused.status).toBe(502);
  expect(refused.body.toString()).toContain("UPSTREAM_INVALID");
  expect(stranger.counts.requests).toEqual([]);
  expect(credentialShown()).toBe(false);

  hub.behaviour.realm = realm;
  expect((await askTag("realm.test/team/app")).status).toBe(200);
  expect(credentialShown()).toBe(true);

  // A registry that was honest yesterday is believed no more than one that never was.
  hub.counts.reset();
  hub.accounts.revokeAll();
  hub.behaviour.realm = `${stranger.tokenService.url}/token`;
  expect((await askTag("realm.test/team/app", "2")).status).toBe(502);
  expect(stranger.counts.requests).toEqual([]);
  expect(credentialShown()).toBe(false);
});

describe("a realm that only looks like an allowed one", () => {
  test.each([
    "https://auth.docker.io.evil.test/token",
    "https://auth.docker.io@evil.test/token",
    "https://evil.test/auth.docker.io/token",
    "http://auth.docker.io/token",
    "https://AUTH.docker.io:8443/token",
  ])("S2: %s is refused without being looked up", async (lookalike) => {
    hub.behaviour.realm = lookalike;
    const attempts = await hubcap.metric("hubcap_upstream_requests_total", { kind: "token" });
    const reply = await askTag("hub.test/team/app");
    expect([reply.status, reply.body.toString()]).toEqual([502, expect.stringContaining("tokenRealms")]);
    expect(await hubcap.metric("hubcap_upstream_requests_total", { kind: "token" })).toBe(attempts);
    expect(credentialShown()).toBe(false);
  });

  test("S2: neither another port, nor another name of the same host, nor a user before it will do", async () => {
    const { port } = hub.tokenService;
    for (const lookalike of [
      `http://127.0.0.1:${stranger.tokenService.port}/token`,
      `http://127.0.0.1:${port}@127.0.0.1:${stranger.tokenService.port}/token`,
      `http://user@127.0.0.1:${port}/token`,
      `http://localhost:${port}/token`,
      `https://127.0.0.1:${port}/token`,
    ]) {
      hub.behaviour.realm = lookalike;
      expect((await askTag("lookalike.test/team/app")).status).toBe(502);
    }
    expect(hub.counts.tokenRequests.total).toBe(0);
    expect(stranger.counts.requests).toEqual([]);
    hub.behaviour.realm = realm;
    expect((await askTag("lookalike.test/team/app")).status).toBe(200);
  });
});

test("S3: a token service that redirects is not followed", async () => {
  for (const location of [
    `${stranger.tokenService.url}/token`,
    "http://169.254.169.254/latest/meta-data/iam",
  ]) {
    hub.counts.reset();
    const fault = hub.fault({ origin: "token", kind: "status", status: 302, headers: { location } });
    const reply = await askTag("token.test/team/app");
    expect([reply.status, reply.body.toString()]).toEqual([502, expect.stringContaining("redirects")]);
    expect(hub.counts.tokenRequests.total).toBe(1);
    fault.remove();
  }
  expect(stranger.counts.requests).toEqual([]);
});

test("S4: who is redirected to learns nothing about us or the client, and the client gets its bytes", async () => {
  const [layer] = image.platforms.get("linux/amd64")?.layers ?? [];
  const content = image.blobs.get(layer?.digest ?? "");
  const reply = await ask(`${hubcap.url}/v2/team/blobs/blobs/${layer?.digest}`, {
    headers: {
      authorization: "Bearer from-the-client",
      cookie: "session=from-the-client",
      "x-registry-auth": "from-the-client",
      "x-hubcap-node": "node-of-from-the-client",
      "user-agent": "from-the-client",
    },
  });
  expect(reply.status).toBe(200);
  expect(reply.body.equals(content ? await allBytes(content) : Buffer.of())).toBe(true);
  const cdn = hub.counts.requests.filter(({ origin }) => origin === "cdn");
  expect(cdn.map(({ headers }) => Object.keys(headers).toSorted())).toEqual([
    ["accept-encoding", "connection", "host", "user-agent"],
  ]);
  expect(JSON.stringify(hub.counts.requests)).not.toContain("from-the-client");
});

test("S24: whatever encodings a client takes, upstreams are asked for none", async () => {
  const { errors } = await pullLikeContainerd({
    mirror: hubcap.url,
    repository: "team/app",
    reference: "1",
    headers: { "accept-encoding": "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5" },
  });
  expect(errors).toEqual([]);
  const { requests } = hub.counts;
  expect(new Set(requests.map(({ origin }) => origin))).toEqual(new Set(["registry", "token", "cdn"]));
  expect(new Set(requests.map(({ headers }) => headers["accept-encoding"]))).toEqual(new Set(["identity"]));
});

test("S30: the credential and the tokens are in no log line, metric, answer or file", async () => {
  const answers = [await askTag("team/canary"), await askTag("wrong.test/team/canary")];
  for (const status of [200, 500]) {
    const layer = image.platforms.get(status === 200 ? "linux/amd64" : "linux/arm64")?.layers[1];
    if (status !== 200) hub.fault({ origin: "cdn", kind: "status", status });
    answers.push(await ask(`${hubcap.url}/v2/team/canary/blobs/${layer?.digest}`));
  }
  hub.accounts.revokeAll();
  hub.fault({ origin: "token", kind: "status", status: 500, body: `no such password: ${secret}`, times: 1 });
  answers.push(await askTag("team/canary-2"));
  hub.fault({ origin: "token", kind: "status", status: 200, body: `{"token": "${secret}`, times: 1 });
  answers.push(await askTag("team/canary-3"));
  expect(answers.map(({ status }) => status)).toEqual([200, 403, 200, 503, 503, 502]);
  const tokens = hub.counts.requests.flatMap(({ headers }) =>
    (headers.authorization ?? "").startsWith("Bearer ") ? [headers.authorization?.slice(7) ?? ""] : [],
  );
  expect(tokens.length).toBeGreaterThan(0);

  await hubcap.logged((line) => JSON.stringify(line).includes("team/canary-3"));
  const shown = [
    JSON.stringify(hubcap.logs()),
    hubcap.errors,
    (await ask(`${hubcap.statusUrl}/metrics`)).body.toString(),
    ...answers.map(({ headers, body }) => JSON.stringify(headers) + body.toString()),
    ...(await storedFiles(hubcap.root)),
  ].join("\n");
  for (const hidden of [secret, basic, ...tokens]) expect(shown).not.toContain(hidden);
  // A signed address is as good as a password while it lasts.
  expect(shown).not.toContain("verify=");
});

async function storedFiles(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return Promise.all(files.map(({ parentPath, name }) => readFile(join(parentPath, name), "latin1")));
}
