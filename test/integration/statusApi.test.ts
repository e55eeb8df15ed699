/** The status API of a real Hubcap, every answer held against the document that it serves. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ask, openReply, type AskOptions } from "../support/ask.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import { buildImage } from "../support/images.ts";
import { OpenApiChecker, type OpenApiDocument } from "../support/openapi.ts";
import { pullLikeContainerd } from "../support/pull.ts";

const token = "canary-admin-4f1c";
const password = "canary-hub-9a2e";

let hub: Hub;
let hubcap: Hubcap;
let folder: string;
let checker: OpenApiChecker;
/** Everything that was answered. */
const answers: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "hubcap-admin-"));
  await writeFile(join(folder, "token"), `${token}\n`);
  hub = await startHub({ accounts: { cluster: { password, limit: 20 } } });
  const credential = { username: "cluster", password };
  hubcap = await startHubcap({
    config: {
      admin: { tokenFile: join(folder, "token") },
      freshness: { tagTtl: "0s" },
      upstreams: { "docker.io": upstreamOf(hub, { credential }), "ghcr.io": {} },
    },
  });
  checker = await OpenApiChecker.of(hubcap.statusUrl);
});

afterAll(async () => {
  await hubcap?.dispose();
  await hub?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** What a call answers, which must be as described. */
async function call(path: string, options: AskOptions = {}) {
  const url = `${hubcap.statusUrl}${path}`;
  const reply = await ask(url, options);
  const body = reply.body.toString();
  answers.push(JSON.stringify(reply.headers), body);
  expect(checker.flawsIn(options.method ?? "GET", url, reply)).toEqual([]);
  return { status: reply.status, body: JSON.parse(body) as unknown };
}

/** A call with the admin token by default. */
function rehearse(mode: "empty" | "down", minutes: number, bearer = token) {
  return call("/api/v1/rehearse", {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${bearer}` },
    body: JSON.stringify({ upstream: "docker.io", mode, minutes }),
  });
}

async function push(name: string): Promise<void> {
  hub.push(await buildImage({ seed: name }), `library/${name}`, "1");
}

function pull(name: string, headers: Readonly<Record<string, string>> = {}) {
  return pullLikeContainerd({
    mirror: hubcap.url,
    repository: `library/${name}`,
    reference: "1",
    ns: "docker.io",
    headers,
  });
}

function manifest(name: string) {
  return ask(`${hubcap.url}/v2/library/${name}/manifests/1?ns=docker.io`);
}

function explain(image: string) {
  return call(`/api/v1/explain?image=${encodeURIComponent(image)}`);
}

/** Resolves when an image is held: a client has a manifest a little before it is stored. */
async function held(name: string): Promise<void> {
  await expect.poll(() => explain(`${name}:1`)).toMatchObject({ body: { held: true } });
}

/** The events that a client of the stream gets, until it leaves. */
async function listen() {
  const response = await openReply(`${hubcap.statusUrl}/api/v1/quota/events`);
  expect(response.headers["content-type"]).toBe("text/event-stream");
  let text = "";
  response.on("error", () => {});
  response.on("data", (piece: Buffer) => {
    text += piece.toString();
  });
  return {
    events: (type: string): unknown[] =>
      [...text.matchAll(/^event: (\w+)\ndata: (.*)\n\n/gm)]
        .filter(([, name]) => name === type)
        .map(([, , data = ""]) => JSON.parse(data) as unknown),
    leave: () => response.destroy(),
  };
}

test("the document is OpenAPI 3.1 and describes every path", async () => {
  const document = (await hubcap.status("/api/v1/openapi.json")) as OpenApiDocument;
  expect(document.openapi).toBe("3.1.0");
  expect(Object.keys(document.paths).toSorted()).toEqual([
    "/cache",
    "/cache/evict",
    "/cache/images",
    "/cache/pins",
    "/cache/pins/cluster",
    "/explain",
    "/quota",
    "/quota/events",
    "/quota/spend",
    "/rehearse",
    "/warm",
    "/warm/{id}",
  ]);
});

test("a check of an answer that is not as described fails", () => {
  const answer = { method: "GET", path: "/api/v1/quota", status: 200, contentType: "application/json" };
  expect(checker.flaws({ ...answer, body: { upstreams: [{ name: "docker.io" }] } })).not.toEqual([]);
  expect(checker.flaws({ ...answer, status: 202, body: { upstreams: [] } })).not.toEqual([]);
  expect(checker.flaws({ ...answer, body: { upstreams: [], token } })).not.toEqual([]);
  expect(checker.flaws({ ...answer, body: { upstreams: [] } })).toEqual([]);
});

test("quota tells what the upstream said, and who it says it counts", async () => {
  await push("pushed");
  await pull("pushed");
  const { body } = await call("/api/v1/quota");
  expect(body).toMatchObject({
    upstreams: [
      {
        name: "docker.io",
        account: "cluster",
        source: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
        state: "ok",
        limit: 20,
        windowSeconds: 21_600,
        remaining: 18,
        reserve: 2,
        spentInWindow: 2,
        learntFrom: "headers",
        observedAt: expect.any(String) as string,
        nextFreeAt: expect.any(String) as string,
      },
      { name: "ghcr.io", account: "anonymous", state: "unknown", limit: null, remaining: null },
    ],
  });
});

test("spend tells a node by its name where its requests carry one", async () => {
  await push("named");
  await pull("named", { "x-hubcap-node": "node-7.example" });
  const { body } = await call("/api/v1/quota/spend?by=client&since=1h&upstream=docker.io");
  expect(body).toMatchObject({
    by: "client",
    rows: expect.arrayContaining([
      expect.objectContaining({ key: "node-7.example", spent: 2, refused: 0 }),
    ]) as unknown,
  });
  expect(await call("/api/v1/quota/spend?by=repository")).toMatchObject({
    status: 200,
    body: {
      rows: expect.arrayContaining([
        expect.objectContaining({ key: "docker.io/library/named", spent: 2 }),
      ]) as unknown,
    },
  });
  expect((await call("/api/v1/quota/spend?since=soon")).status).toBe(400);
});

test("explain tells what a pull would meet: absent, held and stale, and by digest fresh", async () => {
  await push("explained");
  const spent = hub.spent("cluster");
  expect(await explain("explained:1")).toEqual({
    status: 200,
    body: {
      image: "docker.io/library/explained:1",
      upstream: "docker.io",
      repository: "library/explained",
      reference: "1",
      digest: null,
      held: false,
      freshness: "absent",
      cost: 2,
      wouldAnswer: "miss",
      why: "it is not held and would cost up to 2 pulls of docker.io",
    },
  });
  expect(hub.spent("cluster")).toBe(spent);
  await pull("explained");
  await held("explained");
  const explained = await explain("docker.io/library/explained:1");
  expect(explained).toMatchObject({
    body: { held: true, freshness: "stale", cost: 0, wouldAnswer: "hit" },
  });
  const { digest } = explained.body as { digest: string };
  expect(await explain(`explained@${digest}`)).toMatchObject({
    body: {
      image: `docker.io/library/explained@${digest}`,
      reference: digest,
      digest,
      freshness: "fresh",
      wouldAnswer: "hit",
    },
  });
  expect((await explain("quay.io/a/b")).status).toBe(400);
});

test("a rehearsal of an empty account refuses what is not held, serves what is, and tells all who watch within 2 s", async () => {
  await push("rehearsed");
  await push("unheard");
  await pull("rehearsed");
  await held("rehearsed");
  const spent = hub.spent("cluster");
  const { events, leave } = await listen();
  expect(await rehearse("empty", 5)).toMatchObject({ status: 200, body: { state: "exhausted" } });

  const stale = await manifest("rehearsed");
  expect(stale.status).toBe(200);
  expect(stale.headers["warning"]).toMatch(/^299 - "/);
  const refused = await manifest("unheard");
  expect(refused.status).toBe(429);
  expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
  expect(await explain("rehearsed:1")).toMatchObject({ body: { wouldAnswer: "stale", cost: 0 } });
  expect(await explain("unheard:1")).toMatchObject({ body: { wouldAnswer: "refused" } });
  expect(await hubcap.metric("hubcap_rehearsal", { upstream: "docker.io", mode: "empty" })).toBe(1);
  expect(await call("/api/v1/quota")).toMatchObject({
    body: { upstreams: [{ state: "exhausted", remaining: 0, rehearsal: { mode: "empty" } }, {}] },
  });

  await expect
    .poll(() => [events("state"), events("refused")])
    .toMatchObject([
      [{ upstream: "docker.io", from: "ok", to: "exhausted" }],
      [{ upstream: "docker.io", kind: "exhausted", reason: "pull", repository: "library/unheard" }],
    ]);
  for (const event of events("state")) expect(checker.flawsOf("StateEvent", event)).toEqual([]);
  for (const event of events("refused")) expect(checker.flawsOf("RefusedEvent", event)).toEqual([]);
  expect(events("sample")).toHaveLength(2);
  for (const event of events("sample")) expect(checker.flawsOf("UpstreamQuota", event)).toEqual([]);
  answers.push(JSON.stringify([events("state"), events("refused"), events("sample")]));
  leave();

  // A twentieth of a second: it ends by itself, and then what was refused is pulled.
  expect((await rehearse("empty", 0.05 / 60)).status).toBe(200);
  await hubcap.logged(({ msg }) => msg === "the rehearsal of docker.io is over");
  expect((await manifest("unheard")).status).toBe(200);
  expect(await hubcap.metric("hubcap_rehearsal", { upstream: "docker.io" })).toBe(0);
  expect(hub.spent("cluster")).toBe(spent + 1);
});

test("a rehearsal of an upstream that is down sends it nothing at all", async () => {
  await push("cut");
  await pull("cut");
  await held("cut");
  await rehearse("down", 5);
  const asked = hub.counts.requests.length;
  expect((await manifest("cut")).status).toBe(200);
  expect([429, 503]).toContain((await manifest("never")).status);
  expect(await explain("cut:1")).toMatchObject({ body: { wouldAnswer: "stale" } });
  expect(await explain("never:1")).toMatchObject({ body: { wouldAnswer: "refused" } });
  expect(hub.counts.requests.length).toBe(asked);
  expect(await rehearse("down", 0)).toMatchObject({ status: 200, body: { rehearsal: null } });
  expect((await manifest("cut")).headers["warning"]).toBeUndefined();
});

test("changing calls need the admin token", async () => {
  expect((await rehearse("empty", 1, "wrong")).status).toBe(401);
  expect(await call("/api/v1/quota")).toMatchObject({
    body: { upstreams: [{ state: "ok", rehearsal: null }, {}] },
  });
});

test("no answer, nor the page, and no line of the log tells a secret", async () => {
  answers.push((await ask(`${hubcap.statusUrl}/?image=nginx`)).body.toString());
  expect(answers.at(-1)).toContain("account cluster");
  expect(answers.length).toBeGreaterThan(20);
  const result = [...answers, JSON.stringify(hubcap.logs()), hubcap.errors].join("\n");
  expect(result).not.toContain(token);
  expect(result).not.toContain(password);
});
