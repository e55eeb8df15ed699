/** The questions of the status API: what they take, and the one sentence they say when they cannot take it. */
import { expect, test } from "vitest";
import type { LedgerEntry } from "../../../src/quota/ledger.ts";
import { openApiSetup, start } from "./apiServer.ts";

const hourMs = 60 * 60 * 1000;

function entry(minutesAgo: number, fields: Partial<LedgerEntry> = {}): LedgerEntry {
  const at = start - minutesAgo * 60_000;
  return {
    bucket: "docker.io",
    upstream: "docker.io",
    repository: "library/nginx",
    client: "node-1",
    payer: "node-1",
    userAgent: "containerd/2.1.9",
    reason: "pull",
    cost: 1,
    time: at,
    at,
    ...fields,
  };
}

test("quota has a row for every upstream, in the order of the configuration", async () => {
  const { get } = await openApiSetup();
  expect(await get("/quota")).toMatchObject({
    status: 200,
    body: {
      upstreams: [
        { name: "docker.io", state: "ok", limit: 10, remaining: 10, learntFrom: "config", rehearsal: null },
        { name: "ghcr.io", state: "unknown", limit: null, remaining: null, learntFrom: "none" },
      ],
    },
  });
});

test("spend is summed by client over the last six hours by default", async () => {
  const { get, ledger } = await openApiSetup();
  await ledger.spend(entry(5));
  await ledger.spend(entry(10, { client: "node-2", upstream: "ghcr.io", bucket: "ghcr.io" }));
  await ledger.spend(entry(11, { client: "node-2" }));
  await ledger.spend(entry(6 * 60 + 1, { client: "node-3" }));
  expect(await get("/quota/spend")).toEqual({
    status: 200,
    body: {
      by: "client",
      since: "2026-03-03T23:06:07.000Z",
      rows: [
        { key: "node-2", spent: 2, refused: 0, lastAt: "2026-03-04T04:56:07.000Z" },
        { key: "node-1", spent: 1, refused: 0, lastAt: "2026-03-04T05:01:07.000Z" },
      ],
    },
  });
  expect(await get("/quota/spend?by=repository&upstream=ghcr.io")).toMatchObject({
    body: { rows: [{ key: "ghcr.io/library/nginx", spent: 1 }] },
  });
});

test.each([
  ["30s", start - 30_000],
  ["90m", start - 90 * 60_000],
  ["6h", start - 6 * hourMs],
  ["7d", start - 7 * 24 * hourMs],
  ["999999d", 0],
  ["2026-03-04T00:00:00Z", Date.parse("2026-03-04T00:00:00Z")],
  ["2026-03-04T01:30:00.5%2B01:30", Date.parse("2026-03-04T00:00:00.500Z")],
])("since=%s is a point in time", async (since, expected) => {
  const { get } = await openApiSetup();
  expect(await get(`/quota/spend?since=${since}`)).toMatchObject({
    status: 200,
    body: { since: new Date(expected).toISOString() },
  });
});

const badSince = "since must be an RFC 3339 time or a duration such as 90m, 6h or 7d";

test.each([
  ["/quota/spend?since=yesterday", badSince],
  ["/quota/spend?since=6", badSince],
  ["/quota/spend?since=-6h", badSince],
  ["/quota/spend?since=2026-13-04T00:00:00Z", badSince],
  ["/quota/spend?since=2026-03-04", badSince],
  ["/quota/spend?since=1h&since=2h", "since must be given once"],
  ["/quota/spend?by=node", "by must be client, repository, userAgent or reason"],
  ["/quota/spend?upstream=quay.io", "upstream must be one of docker.io, ghcr.io"],
  ["/quota/spend?sinse=6h", 'nothing is called "sinse" here'],
  ["/explain", "image must name one image, such as docker.io/library/nginx:1.29"],
  [
    "/explain?image=",
    '"" is not a repository name: lower-case letters and digits, with . _ - / between them',
  ],
  ["/explain?image=nginx:", 'what follows the ":" is not a tag: letters, digits and . _ -, at most 128'],
  [
    "/explain?image=evil.example/a",
    'the source host "evil.example" is not served here: add it under "upstreams:" in the configuration',
  ],
])("%s is refused with one sentence", async (path, error) => {
  const { get } = await openApiSetup();
  const answer = await get(path);
  expect(answer.status).toBe(400);
  expect(answer.body).toEqual({ error });
});

test("our own faults are logged and not sent to the client", async () => {
  const { get, lines } = await openApiSetup();
  const { status, body } = await get("/explain?image=nginx");
  expect(status).toBe(500);
  expect(JSON.stringify(body)).not.toContain("catalog");
  expect(lines).toEqual([
    ["error", { err: new Error("the catalog is broken"), path: "/explain" }, "request failed"],
  ]);
});

test("no response may be cached on its way", async () => {
  const { api } = await openApiSetup();
  for (const path of ["/quota", "/quota/spend?by=x", "/openapi.json"]) {
    expect((await api.request(path)).headers.get("Cache-Control")).toBe("no-store");
  }
});
