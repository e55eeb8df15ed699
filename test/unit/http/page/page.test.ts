/** The page as it is served: its policy, its files, its stream, and what it costs to leave it open. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { expect, test, vi } from "vitest";
import { mostWatchers } from "../../../../src/http/page/live.ts";
import { statusPage } from "../../../../src/http/page/page.ts";
import { Failures } from "../../../../src/telemetry/failures.ts";
import { History } from "../../../../src/telemetry/history.ts";
import { openApiSetup, type ApiSetup } from "../apiServer.ts";

interface Totals {
  readonly bytes: number;
  readonly blobs: number;
  readonly manifests: number;
}

async function openPageSetup() {
  const setup = await openApiSetup();
  const health = { failures: 0, knownDown: false };
  const metrics = { history: new History(), failures: new Failures() };
  const totals = vi.fn<() => Promise<Totals>>(() => Promise.resolve({ bytes: 10, blobs: 2, manifests: 1 }));
  const page = statusPage({
    upstreams: new Map([...setup.buckets].map(([name, bucket]) => [name, { bucket, registry: { health } }])),
    ledger: setup.ledger,
    mirror: {
      explain: () => Promise.reject(new Error("the catalog is broken")),
      mayKnow: () => Promise.resolve(true),
    },
    routing: { upstreams: new Set(setup.buckets.keys()), defaultUpstream: "docker.io" },
    eviction: { capacity: 1000, totals, oldestUse: () => Promise.resolve(undefined) },
    fills: { running: [] },
    metrics,
    degraded: () => undefined,
    log: setup.log,
    clock: setup.clock,
  });
  return { setup, page, totals, metrics };
}

async function watch({ page }: { readonly page: ReturnType<typeof statusPage> }) {
  const response = await page.request("/live");
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  return {
    status: response.status,
    read: async () => decoder.decode((await reader?.read())?.value),
    leave: async () => reader?.cancel(),
  };
}

async function beRefused({ buckets }: ApiSetup): Promise<void> {
  const request = {
    kind: "manifest-get",
    repository: { upstream: "docker.io", name: "library/nginx" as never },
    what: "manifest library/nginx:1",
    purpose: { reason: "pull", client: "node-1", payer: "node-1", userAgent: "test" },
  } as const;
  await buckets
    .get("docker.io")
    ?.take(request)
    .catch(() => {});
}

test("forbids everything but its own files, and being framed", async () => {
  const { page } = await openPageSetup();
  for (const path of ["/", "/live", /\/assets\/page\.\w+\.js/.exec(await text(page, "/"))?.[0] ?? ""]) {
    const { status, headers, body } = await page.request(path);
    await body?.cancel();
    expect(status).toBe(200);
    const policy = headers.get("Content-Security-Policy")?.split("; ") ?? [];
    expect(policy[0]).toBe("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy.join(" ")).not.toMatch(/unsafe|\*|http/);
    expect(headers.get("X-Content-Type-Options")).toBe("nosniff");
    expect(headers.get("Referrer-Policy")).toBe("no-referrer");
  }
});

test("has nothing inline that its policy would stop, and loads nothing from elsewhere", async () => {
  const { page } = await openPageSetup();
  const html = await text(page, "/");
  expect(html).not.toMatch(/<style|\sstyle=|\son\w+=|javascript:/);
  for (const [, inside] of html.matchAll(/<script[^>]*>([^<]*)<\/script>/g)) expect(inside).toBe("");
  expect(html).not.toMatch(/(?:src|href)="(?:https?:)?\/\//);
});

test("serves its files with their types, to be kept for ever under names that change with them", async () => {
  const { page } = await openPageSetup();
  const html = await text(page, "/");
  const paths = [...new Set([...html.matchAll(/"(\/assets\/[^"]+)"/g)].map(([, path = ""]) => path))];
  expect(paths).toHaveLength(6);
  const types: Record<string, string> = {
    css: "text/css; charset=utf-8",
    js: "text/javascript; charset=utf-8",
    svg: "image/svg+xml",
  };
  for (const path of paths) {
    const { status, headers } = await page.request(path);
    expect([status, headers.get("Content-Type")]).toEqual([200, types[path.split(".").at(-1) ?? ""]]);
    expect(headers.get("Cache-Control")).toContain("immutable");
  }
  const library = createRequire(import.meta.url).resolve("uplot/dist/uPlot.iife.min.js");
  const served = await text(page, paths.find((path) => /uplot.*js/.test(path)) ?? "");
  expect(served).toBe(readFileSync(library, "utf8"));
  expect((await page.request("/assets/../package.json")).status).toBe(404);
});

test("sends all parts first, then only those that changed", async () => {
  const opened = await openPageSetup();
  const { read, leave } = await watch(opened);
  const first = parts(await read());
  expect(Object.keys(first)).toContain("quotas");
  expect(first["verdict"]).toBe("All pulls are served.");
  opened.setup.buckets.get("docker.io")?.rehearse("empty", opened.setup.clock.now() + 3_600_000);
  await beRefused(opened.setup);
  await opened.setup.clock.advance(1000);
  const next = parts(await read());
  expect(next["verdict"]).toContain("No pull of docker.io is left.");
  expect(next["quotas"]).toContain("1 request was refused");
  expect(Object.keys(next)).not.toContain("disk");
  await leave();
});

test("sends the same for the first page and for updates", async () => {
  const opened = await openPageSetup();
  const { read, leave } = await watch(opened);
  const sent = parts(await read());
  const html = await text(opened.page, "/");
  for (const part of Object.values(sent)) expect(html.includes(part)).toBe(true);
  await leave();
});

test("reads nothing while no page is open, and sends a comment when nothing changes", async () => {
  const opened = await openPageSetup();
  const { read, leave } = await watch(opened);
  await opened.setup.clock.advance(0);
  await read();
  const next = read();
  await opened.setup.clock.advance(15_000);
  expect(await next).toBe(":\n\n");
  const asked = opened.totals.mock.calls.length;
  expect(asked).toBeGreaterThan(10);
  await leave();
  await opened.setup.clock.advance(60_000);
  expect(opened.totals.mock.calls.length - asked).toBeLessThanOrEqual(1);
  expect(opened.setup.clock.waiting).toBe(0);
});

test("does not show old parts to a page that is opened later", async () => {
  const opened = await openPageSetup();
  const first = await watch(opened);
  await opened.setup.clock.advance(0);
  await first.read();
  await first.leave();
  await opened.setup.clock.advance(60_000);
  opened.setup.buckets.get("docker.io")?.rehearse("empty", opened.setup.clock.now() + 3_600_000);
  const second = await watch(opened);
  await opened.setup.clock.advance(0);
  expect(parts(await second.read())["verdict"]).toContain("No pull of docker.io is left.");
  await second.leave();
  await opened.setup.clock.advance(60_000);
});

test("refuses one page too many, until another one is closed", async () => {
  const opened = await openPageSetup();
  const watchers = [];
  for (let count = 0; count < mostWatchers; count += 1) watchers.push(await watch(opened));
  const refused = await opened.page.request("/live");
  expect([refused.status, refused.headers.get("Retry-After")]).toEqual([503, "30"]);
  await watchers[0]?.leave();
  await vi.waitFor(async () => {
    const again = await watch(opened);
    await again.leave();
    expect(again.status).toBe(200);
  });
  for (const { leave } of watchers) await leave();
});

test("stays up when the store cannot be read, and says so in one line when it is our own fault", async () => {
  const { page, totals, setup } = await openPageSetup();
  totals.mockRejectedValue(new Error("the disk is gone"));
  setup.ledger.spendBy = () => Promise.reject(new Error("the disk is gone"));
  const html = await text(page, "/");
  expect(html).toContain("What is held cannot be read now.");
  expect(html).toContain("The ledger cannot be read now");
  const broken = await page.request("/?image=nginx");
  expect(broken.status).toBe(500);
  expect(await broken.text()).toBe("this is Hubcap's own fault; its log says more\n");
});

test("explains what is wrong with a name", async () => {
  const { page } = await openPageSetup();
  expect(await text(page, `/?image=${encodeURIComponent("nginx:no tag")}`)).toContain("is not a tag");
});

async function text(page: ReturnType<typeof statusPage>, path: string): Promise<string> {
  return (await page.request(path)).text();
}

function parts(message: string): Record<string, string> {
  const [, data = "{}"] = /^event: parts\ndata: (.*)\n\n$/.exec(message) ?? [];
  return JSON.parse(data) as Record<string, string>;
}
