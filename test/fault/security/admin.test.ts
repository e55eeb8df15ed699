/** Cases S31 and S32: the admin token, and what is on which port. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ask } from "../../support/ask.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";

const token = "a-token-of-thirty-two-letters-ab";
const change = "/api/v1/cache/pins?image=docker.io/library/nginx:1";

let hub: Hub;
let hubcap: Hubcap;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "hubcap-admin-"));
  await writeFile(join(folder, "token"), `${token}\n`);
  hub = await startHub({ auth: "none" });
  hubcap = await startHubcap({
    config: { admin: { tokenFile: join(folder, "token") }, upstreams: { "docker.io": upstreamOf(hub) } },
  });
});

afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
  await rm(folder, { recursive: true });
});

function put(authorization: string | undefined, url = hubcap.statusUrl) {
  return ask(`${url}${change}`, {
    method: "PUT",
    headers: authorization === undefined ? {} : { authorization },
  });
}

const wrong: readonly (readonly [what: string, authorization: string | undefined])[] = [
  ["none", undefined],
  ["an empty one", "Bearer "],
  ["one of the same length", `Bearer ${"x".repeat(token.length)}`],
  ["one whose last letter is wrong", `Bearer ${token.slice(0, -1)}y`],
  ["one that is too short", `Bearer ${token.slice(0, 4)}`],
  ["one that goes on", `Bearer ${token}x`],
  ["one of 8 kB", `Bearer ${"x".repeat(8000)}`],
  ["one that is no ASCII", "Bearer \u00e4\u00f6\u00fc"],
  ["the right one by another scheme", `Basic ${Buffer.from(`admin:${token}`).toString("base64")}`],
];

test.each(wrong)("S31: %s is refused like any other", async (_, authorization) => {
  const { status, headers, body } = await put(authorization);
  expect([status, headers["www-authenticate"]]).toEqual([401, "Bearer"]);
  expect(JSON.parse(body.toString())).toEqual({
    error: "this call needs the admin token, as Authorization: Bearer TOKEN",
  });
});

function median(times: readonly number[]): number {
  return times.toSorted((one, other) => one - other)[times.length >> 1] ?? 0;
}

test("S31: how much of a token is right does not show in the time", async () => {
  const times: number[][] = [[], []];
  const guesses = [`x${token.slice(1)}`, `${token.slice(0, -1)}x`];
  for (let turn = 0; turn < 600; turn += 1) {
    const started = performance.now();
    await put(`Bearer ${guesses[turn % 2]}`);
    times[turn % 2]?.push(performance.now() - started);
  }
  const [early = 0, late = 0] = times.map(median);
  expect(Math.max(early, late) / Math.min(early, late)).toBeLessThan(1.5);
});

test.each([
  "/",
  "/metrics",
  "/livez",
  "/readyz",
  "/api/v1/quota",
  "/api/v1/cache",
  "/api/v1/cache/pins",
  "/live",
  "/v2/../metrics",
  "/v2/%2e%2e/metrics",
])("S32: %s is not on the port of pulls, and the token changes nothing there", async (path) => {
  expect((await ask(`${hubcap.url}${path}`)).status).toBeGreaterThanOrEqual(400);
  expect((await put(`Bearer ${token}`, hubcap.url)).status).toBe(405);
  expect(await hubcap.status("/api/v1/cache/pins")).toMatchObject({ pins: [] });
});

test("S32: pulls are not on the port for operators, and a question changes nothing", async () => {
  expect((await ask(`${hubcap.statusUrl}/v2/library/app/manifests/1`)).status).toBe(404);
  for (const method of ["GET", "HEAD", "POST", "PATCH"]) {
    const headers = { authorization: `Bearer ${token}` };
    await ask(`${hubcap.statusUrl}${change}`, { method, headers });
  }
  expect(await hubcap.status("/api/v1/cache/pins")).toMatchObject({ pins: [] });
  expect((await put(`Bearer ${token}`)).status).toBeLessThan(300);
});
