/** Changing calls: who may make them, and rehearsals, which end by themselves. */
import { expect, test } from "vitest";
import { Secret } from "../../../src/config/secret.ts";
import type { QuotaEvent } from "../../../src/quota/events.ts";
import { openApiSetup } from "./apiServer.ts";

const token = "sesame-7d1f";
const bearer = { Authorization: `Bearer ${token}` };
const order = { upstream: "docker.io", mode: "empty", minutes: 10 };

test("without a configured token nothing can be changed, whatever is sent", async () => {
  const { rehearse, get } = await openApiSetup();
  for (const headers of [{}, bearer, { Authorization: "Bearer undefined" }, { Authorization: "Bearer " }]) {
    expect(await rehearse(order, headers)).toEqual({
      status: 404,
      body: { error: "changing calls are off: name a file with a token in admin.tokenFile" },
    });
  }
  expect(await get("/quota")).toMatchObject({ body: { upstreams: [{ rehearsal: null }, {}] } });
});

test.each([
  ["none", {}],
  ["another", { Authorization: "Bearer sesame-7d1e" }],
  ["its beginning", { Authorization: "Bearer sesame" }],
  ["more than it", { Authorization: `Bearer ${token}0` }],
  ["nothing", { Authorization: "Bearer " }],
  ["what a secret prints as", { Authorization: "Bearer ***" }],
  ["a password", { Authorization: `Basic ${Buffer.from(`:${token}`).toString("base64")}` }],
])("with %s in place of the token nothing can be changed", async (_what, headers) => {
  const { api, rehearse, get } = await openApiSetup(new Secret(token));
  const { status, body } = await rehearse(order, headers);
  expect(status).toBe(401);
  expect(body).toEqual({ error: "this call needs the admin token, as Authorization: Bearer TOKEN" });
  const response = await api.request("/rehearse", { method: "POST", headers });
  expect(response.headers.get("WWW-Authenticate")).toBe("Bearer");
  expect(await get("/quota")).toMatchObject({ body: { upstreams: [{ rehearsal: null }, {}] } });
});

test("a body is not even read before the token is right", async () => {
  const { rehearse } = await openApiSetup(new Secret(token));
  expect((await rehearse("{", {})).status).toBe(401);
});

const minutes = "minutes must be a number from 0 to 1440";

test.each([
  ["{", "the body is not JSON"],
  ["[]", "the body must be a JSON object"],
  [{ ...order, upstream: "quay.io" }, "upstream must be one of docker.io, ghcr.io"],
  [{ ...order, upstream: undefined }, "upstream must be the name of an upstream"],
  [{ ...order, mode: "broken" }, "mode must be empty or down"],
  [{ ...order, minutes: undefined }, minutes],
  [{ ...order, minutes: "10" }, minutes],
  [{ ...order, minutes: -1 }, minutes],
  [{ ...order, minutes: 1441 }, minutes],
  ['{"upstream":"docker.io","mode":"empty","minutes":1e999}', minutes],
  [{ ...order, until: "later" }, 'nothing is called "until" here'],
])("%j is refused with one sentence", async (body, error) => {
  const { rehearse } = await openApiSetup(new Secret(token));
  expect(await rehearse(body, bearer)).toEqual({ status: 400, body: { error } });
});

test("a form is not taken for JSON", async () => {
  const { rehearse } = await openApiSetup(new Secret(token));
  const form = { ...bearer, "Content-Type": "application/x-www-form-urlencoded" };
  expect(await rehearse(order, form)).toEqual({
    status: 415,
    body: { error: "the body must be JSON, with Content-Type: application/json" },
  });
});

test("a rehearsal is shown in its upstream's row, and over when its time is", async () => {
  const { rehearse, get, clock } = await openApiSetup(new Secret(token));
  expect(await rehearse(order, bearer)).toMatchObject({
    status: 200,
    body: {
      name: "docker.io",
      state: "exhausted",
      remaining: 0,
      rehearsal: { mode: "empty", until: "2026-03-04T05:16:07Z" },
    },
  });
  await clock.advance(10 * 60_000 - 1);
  expect(await get("/quota")).toMatchObject({
    body: { upstreams: [{ state: "exhausted" }, { name: "ghcr.io", rehearsal: null }] },
  });
  await clock.advance(1);
  expect(await get("/quota")).toMatchObject({
    body: { upstreams: [{ state: "ok", remaining: 10, rehearsal: null }, {}] },
  });
});

test("listeners learn of its end at once, not with the next pull", async () => {
  const { rehearse, buckets, lines, clock } = await openApiSetup(new Secret(token));
  const events: QuotaEvent[] = [];
  buckets.get("docker.io")?.on((event) => events.push(event));
  await rehearse({ ...order, minutes: 0.5 }, bearer);
  await clock.advance(30_000);
  expect(events).toEqual([
    { type: "state", upstream: "docker.io", from: "ok", to: "exhausted" },
    { type: "state", upstream: "docker.io", from: "exhausted", to: "ok" },
  ]);
  expect(lines).toEqual([
    [
      "warn",
      { upstream: "docker.io", mode: "empty", until: "2026-03-04T05:06:37.000Z" },
      "rehearsing that docker.io is empty",
    ],
    ["warn", { upstream: "docker.io" }, "the rehearsal of docker.io is over"],
  ]);
});

test("a rehearsal that is begun again ends when the second would, and with 0 minutes at once", async () => {
  const { rehearse, clock, get } = await openApiSetup(new Secret(token));
  await rehearse({ ...order, minutes: 1 }, bearer);
  await rehearse({ ...order, mode: "down", minutes: 2 }, bearer);
  await clock.advance(60_000);
  expect(await get("/quota")).toMatchObject({ body: { upstreams: [{ rehearsal: { mode: "down" } }, {}] } });
  expect(await rehearse({ ...order, minutes: 0 }, bearer)).toMatchObject({
    status: 200,
    body: { rehearsal: null },
  });
});
