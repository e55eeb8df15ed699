/** Cases S30: secrets in every place that takes one, and a look at everything that Hubcap says, wherever it says it. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hash } from "bcrypt";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { stringify } from "yaml";
import { ask, openReply, type Reply } from "../../support/ask.ts";
import { canary, canaryOf, found } from "../../support/canary.ts";
import { makeAuthority } from "../../support/certificates.ts";
import { Collector } from "../../support/collector.ts";
import { HookServer } from "../../support/hook.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";
import { runHubcap } from "../../support/run.ts";
import { patience } from "../../support/patience.ts";

const fields = [
  "password",
  "passwordFile",
  "dockerConfig",
  "wrongPassword",
  "token",
  "htpasswd",
  "webhook",
  "webhookFile",
  "tracing",
  "admin",
  "client",
] as const;
const authority = makeAuthority();
const pair = authority.issue({ names: ["127.0.0.1"] });
const { cert: ca } = authority;
/** Of a key, any line is a secret. */
const keyLine = pair.key.split("\n")[1] ?? "";
const secrets = [...fields.map(canaryOf), canary, keyLine];

let hub: Hub;
let hook: HookServer;
let collector: Collector;
let hubcap: Hubcap;
let folder: string;
let config: Readonly<Record<string, unknown>>;
const said: string[] = [];

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "hubcap-canary-"));
  hub = await startHub({
    accounts: {
      one: { password: canaryOf("password") },
      two: { password: canaryOf("passwordFile") },
      three: { password: canaryOf("dockerConfig") },
    },
  });
  hook = await new HookServer().start();
  collector = await new Collector().start();
  const image = await buildImage({ layers: 1 });
  for (const name of ["team/app", "team/limited", "team/broken"]) {
    hub.push(image, name, "1");
    hub.shelf.restrict(name, ["one", "two", "three"]);
  }
  const { host } = new URL(hub.url);
  const auth = Buffer.from(`three:${canaryOf("dockerConfig")}`).toString("base64");
  const tls = { certificateFile: await file("tls.crt", pair.cert), keyFile: await file("tls.key", pair.key) };
  config = {
    registry: { tls },
    status: { tls },
    log: { level: "debug" },
    audit: { file: join(folder, "audit.log") },
    admin: { tokenFile: await file("admin", canaryOf("admin")) },
    identities: {
      tokens: [{ name: "ci", file: await file("ci", canaryOf("token")) }],
      htpasswdFile: await file("htpasswd", `alice:${await hash(canaryOf("htpasswd"), 4)}\n`),
    },
    access: [{ who: ["token:ci", "user:alice"], allow: "pull" }],
    alerts: [
      { url: `${hook.url}/${canaryOf("webhook")}`, minInterval: "1s" },
      { urlFile: await file("hook", `${hook.url}/${canaryOf("webhookFile")}`), minInterval: "1s" },
      // One that does not answer, so that it fails visibly.
      { url: `http://127.0.0.1:1/${canaryOf("webhook")}`, minInterval: "1s" },
    ],
    tracing: {
      endpoint: collector.url,
      headersFile: await file("headers", `Authorization: ${canaryOf("tracing")}\n`),
    },
    upstreams: {
      "docker.io": upstreamOf(hub, { credential: { username: "one", password: canaryOf("password") } }),
      "file.test": upstreamOf(hub, {
        credential: { username: "two", passwordFile: await file("password", canaryOf("passwordFile")) },
      }),
      "docker.test": upstreamOf(hub, {
        credential: {
          dockerConfigFile: await file("config.json", JSON.stringify({ auths: { [host]: { auth } } })),
        },
      }),
      "wrong.test": upstreamOf(hub, { credential: { username: "one", password: canaryOf("wrongPassword") } }),
      "tls.test": upstreamOf(hub, {
        url: hub.url.replace("http:", "https:"),
        credential: { username: "one", password: canaryOf("password") },
      }),
    },
  };
  hubcap = await startHubcap({ config, trust: { ca } });
});

afterAll(async () => {
  await hubcap.dispose();
  await Promise.all([hub.stop(), hook.stop(), collector.stop()]);
  await rm(folder, { recursive: true });
});

function hear(...texts: readonly string[]): void {
  said.push(...texts);
}

async function pull(path: string, authorization = `Bearer ${canaryOf("token")}`): Promise<Reply> {
  const reply = await ask(`${hubcap.url}/v2/${path}`, { ca, headers: { authorization } });
  hear(JSON.stringify(reply.headers), reply.body.toString());
  return reply;
}

async function look(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Reply> {
  const reply = await ask(`${hubcap.statusUrl}${path}`, { ca, headers, method });
  hear(JSON.stringify(reply.headers), reply.body.toString());
  return reply;
}

function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
}

async function filesIn(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return Promise.all(files.map(({ parentPath, name }) => readFile(join(parentPath, name), "latin1")));
}

describe("S30", () => {
  test("secrets are found in every form that they may be written in", () => {
    const secret = canaryOf("password");
    for (const before of ["", "a", "ab", "user:"]) {
      const text = Buffer.from(`${before}${secret} and more`).toString("base64");
      expect(found(text, [secret])).not.toEqual([]);
    }
    expect(found(`https://x/?a=${encodeURIComponent(secret)}`, [secret])).not.toEqual([]);
    expect(found("nothing", secrets)).toEqual([]);
  });

  test("whatever is pulled, and however it fails, nothing that is said holds a secret", async () => {
    const wrong = basic("alice", canaryOf("client"));
    expect((await pull("docker.io/team/app/manifests/1")).status).toBe(200);
    expect((await pull("file.test/team/app/manifests/1", basic("alice", canaryOf("htpasswd")))).status).toBe(
      200,
    );
    expect((await pull("docker.test/team/app/manifests/1")).status).toBe(200);
    expect((await pull("docker.io/team/app/manifests/1", wrong)).status).toBe(401);
    expect((await pull("docker.io/team/app/manifests/1", `Bearer ${canaryOf("client")}`)).status).toBe(401);
    expect((await pull(`docker.io/team/app/manifests/${encodeURIComponent(" ")}`)).status).toBe(400);
    expect((await pull("wrong.test/team/app/manifests/1")).status).toBeGreaterThanOrEqual(400);
    expect((await pull("tls.test/team/app/manifests/1")).status).toBeGreaterThanOrEqual(500);
    const body = `go away, ${canaryOf("password")}`;
    for (const [repository, status] of [
      ["limited", 429],
      ["broken", 500],
      ["broken-2", 401],
      ["broken-3", 403],
    ] as const) {
      hub.fault({
        origin: "registry",
        kind: "status",
        status,
        path: new RegExp(`/team/${repository}/`),
        body,
      });
      expect((await pull(`docker.io/team/${repository}/manifests/1`)).status).toBeGreaterThanOrEqual(400);
      hub.faults.clear();
    }
    hub.accounts.revokeAll();
    for (const status of [401, 500, 200]) {
      hub.fault({
        origin: "token",
        kind: "status",
        status,
        body: `{"token": "${canaryOf("password")}`,
        times: 1,
      });
      await pull(`docker.io/team/token-${status}/manifests/1`);
      hub.faults.clear();
    }

    const admin = { authorization: `Bearer ${canaryOf("admin")}` };
    const image = encodeURIComponent("docker.io/team/app:1");
    expect((await look(`/api/v1/cache/pins?image=${image}`, admin, "PUT")).status).toBeLessThan(300);
    expect(
      (
        await look(
          `/api/v1/cache/pins?image=${image}`,
          { authorization: `Bearer ${canaryOf("client")}` },
          "PUT",
        )
      ).status,
    ).toBe(401);
    for (const path of [
      "/",
      "/metrics",
      "/readyz",
      "/api/v1/openapi.json",
      "/api/v1/quota",
      "/api/v1/quota/spend?by=client",
      "/api/v1/cache",
      "/api/v1/cache/images",
      "/api/v1/cache/pins",
      `/api/v1/explain?image=${image}`,
      "/api/v1/nothing",
    ]) {
      await look(path);
      await look(path, admin);
    }
    const live = await openReply(`${hubcap.statusUrl}/live`, { ca });
    live.once("data", (piece: Buffer) => hear(piece.toString()));
    // It is at work, and shows its secrets to those whom they are for.
    const isTold = (secret: string): boolean => hook.posted.some(({ path }) => path === `/${secret}`);
    const hooks = [canaryOf("webhook"), canaryOf("webhookFile")];
    await vi.waitUntil(() => hooks.every(isTold) && collector.spans.length > 0, patience);
    live.destroy();
    hear(...hook.posted.map(({ body }) => JSON.stringify(body)), ...collector.bodies);
    expect(collector.requests.some(({ headers }) => headers.authorization === canaryOf("tracing"))).toBe(
      true,
    );
    await hubcap.stop();
    hear(JSON.stringify(hubcap.logs()), hubcap.errors, await readFile(join(folder, "audit.log"), "utf8"));
    hear(...(await filesIn(hubcap.root)));
    expect(said.join("\n").length).toBeGreaterThan(50_000);
    expect(said.flatMap((text) => found(text, secrets))).toEqual([]);
  });

  test.each([
    [["--help"]],
    [["serve", "--help"]],
    [["doctor", "docker.io/team/app:1", "--timeout", "5"]],
    [["doctor", "wrong.test/team/app:1", "--timeout", "5", "--json"]],
    [["doctor", "tls.test/team/app:1", "--timeout", "5"]],
    [["fsck"]],
    [["quota"]],
  ])("nor does a command: %j", async (args) => {
    const path = await file("hubcap.yaml", stringify({ ...config, storage: { root: hubcap.root } }));
    const known = args.some((word) => word === "--help" || word === "quota") ? [] : ["--config", path];
    const { output, errors } = await runHubcap([...args, ...known], {
      NODE_EXTRA_CA_CERTS: join(folder, "tls.crt"),
    });
    expect(output + errors).not.toBe("");
    expect(found(output + errors, secrets)).toEqual([]);
  });

  const secret = canaryOf("password");
  const misplaced: readonly (readonly [what: string, section: object])[] = [
    [
      "a password in a list",
      { upstreams: { "docker.io": { credential: { username: "u", password: [secret] } } } },
    ],
    [
      "a password in a mapping",
      { upstreams: { "docker.io": { credential: { username: "u", password: { value: secret } } } } },
    ],
    ["a password without a name", { upstreams: { "docker.io": { credential: { password: secret } } } }],
    [
      "a password under another key",
      { upstreams: { "docker.io": { credential: { username: "u", pasword: secret } } } },
    ],
    ["a password in place of a credential", { upstreams: { "docker.io": { credential: secret } } }],
    [
      "a password in an address",
      { upstreams: { "docker.io": { url: `https://u:${secret}@registry.example` } } },
    ],
    ["a token in a query", { tracing: { endpoint: `https://collector.example/?token=${secret}` } }],
    ["a token in place of the admin's section", { admin: secret }],
    ["a token under another key", { admin: { token: secret } }],
    ["a token in place of tokens", { identities: { tokens: secret } }],
    ["a token under another key of identities", { identities: { tokens: [{ name: "ci", token: secret }] } }],
    ["a webhook that is none", { alerts: [{ url: [secret] }] }],
    ["a webhook in place of a list", { alerts: secret }],
    [
      "a webhook beside its file",
      { alerts: [{ url: secret, urlFile: secret.length > 0 ? import.meta.filename : "" }] },
    ],
    ["headers in place of a file", { tracing: { headersFile: { Authorization: secret } } }],
    ["a key in place of TLS", { registry: { tls: secret } }],
  ];

  test.each(misplaced)("nor does a complaint about %s", async (_, section) => {
    const path = await file("wrong.yaml", stringify(section));
    const { code, output, errors } = await runHubcap(["serve", "--config", path]);
    expect(code).toBe(78);
    expect(errors).not.toBe("");
    expect(found(output + errors, secrets)).toEqual([]);
  });

  test.each(["password", "admin", "ci", "htpasswd", "hook", "headers", "config.json", "tls.key"])(
    "nor does a complaint about a broken file: %s",
    async (name) => {
      const broken = join(folder, "broken");
      await mkdir(broken, { recursive: true });
      const path = join(broken, name);
      // Half a file that was written, or another kind of file altogether.
      await writeFile(path, `{"auths": {${secret}\n-----BEGIN ${secret}\n`);
      const text = stringify({ ...config, storage: { root: join(broken, "storage") } }).replaceAll(
        join(folder, name),
        path,
      );
      const written = await file("broken.yaml", text.replaceAll("127.0.0.1:5000", "127.0.0.1:0"));
      const { output, errors } = await runHubcap([
        "doctor",
        "docker.io/team/app:1",
        "--timeout",
        "2",
        "--config",
        written,
      ]);
      expect(found(output + errors, secrets)).toEqual([]);
    },
  );
});
