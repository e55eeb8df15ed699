/** Traces of pulls, as an OpenTelemetry collector receives them. */
import { readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { ask } from "../support/ask.ts";
import { Collector, type ReceivedSpan } from "../support/collector.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import { buildImage, type Image } from "../support/images.ts";
import { patience } from "../support/patience.ts";

const traceId = "0af7651916cd43dd8448eb211c80319c";
const spanId = "b7ad6b7169203331";
const traceparent = `00-${traceId}-${spanId}-01`;
const password = "canary-password-41d2";
let hub: Hub;
let collector: Collector;
let hubcap: Hubcap | undefined;
let image: Image;

beforeEach(async () => {
  hub = await startHub({ accounts: { tracing: { password } } });
  collector = await new Collector().start();
  image = await buildImage({ seed: "traced" });
  hub.push(image, "library/app", "1");
});
afterEach(async () => {
  await hubcap?.dispose();
  await collector.stop();
  await hub.stop();
});

async function start(tracing: object): Promise<Hubcap> {
  const credential = { username: "tracing", password };
  hubcap = await startHubcap({
    config: { tracing, upstreams: { "docker.io": upstreamOf(hub, { credential }) } },
  });
  return hubcap;
}

function partsOf(whole: ReceivedSpan): ReceivedSpan[] {
  return collector.spans.filter((span) => span.parentSpanId === whole.spanId);
}

/** The pull whose span has these attributes, once it is there, with the spans that are parts of it. */
async function traceOf(attributes: Readonly<Record<string, unknown>>) {
  const root = await vi.waitFor(() => {
    const found = collector.spans.find((span) =>
      Object.entries(attributes).every(([name, value]) => span.attributes[name] === value),
    );
    if (!found) throw new Error(`no span with ${JSON.stringify(attributes)}`);
    return found;
  }, patience);
  return { root, parts: partsOf(root) };
}

const names = (spans: readonly ReceivedSpan[]): string[] => spans.map(({ name }) => name).toSorted();

it("a pull that misses is one trace: what it waited for, and what that was", async () => {
  const { url } = await start({ endpoint: collector.url });
  const layer = image.platforms.get("linux/amd64")?.layers[0];
  await ask(`${url}/v2/library/app/manifests/${image.root.digest}`, {
    headers: { "x-hubcap-node": "worker-1", traceparent },
  });
  await ask(`${url}/v2/library/app/blobs/${layer?.digest}`);

  const manifest = await traceOf({ "hubcap.reference": image.root.digest, "hubcap.outcome": "miss" });
  expect(manifest.root).toMatchObject({ name: "pull manifest", kind: 2, traceId, parentSpanId: spanId });
  expect(manifest.root.attributes).toMatchObject({
    "http.request.method": "GET",
    "http.response.status_code": 200,
    "hubcap.client": "worker-1",
    "hubcap.upstream": "docker.io",
    "hubcap.repository": "library/app",
    "hubcap.digest": image.root.digest,
    "hubcap.complete": true,
  });
  expect(manifest.root.resource).toMatchObject({ "service.name": "hubcap" });
  // The login is a part of the token, and is paid for and sent like any other request.
  const token = manifest.parts.find(({ name }) => name === "token");
  expect(names(token ? partsOf(token) : [])).toEqual(["upstream request", "wait in bucket"]);
  expect(new Set(names(manifest.parts))).toEqual(new Set(["token", "upstream request", "wait in bucket"]));
  const asked = manifest.parts.find(
    ({ attributes }) => attributes["hubcap.request"] === "manifest-get" && "server.address" in attributes,
  );
  expect(asked).toMatchObject({
    kind: 3,
    traceId,
    attributes: { "server.address": new URL(hub.url).host, "http.response.status_code": 200 },
  });

  const blob = await traceOf({ "hubcap.reference": layer?.digest, "hubcap.outcome": "miss" });
  expect(blob.root.traceId).not.toBe(traceId);
  const fill = await vi.waitFor(() => {
    const found = partsOf(blob.root).find(({ name }) => name === "fill");
    if (!found) throw new Error("no fill");
    return found;
  }, patience);
  expect(fill.attributes).toMatchObject({
    "hubcap.digest": layer?.digest,
    "hubcap.size": layer?.size,
  });
  // Each step lies within the time of the pull, none before the pull began.
  expect(collector.spans.every(({ start, end }) => start <= end)).toBe(true);
  expect(blob.parts.every(({ start }) => start >= blob.root.start)).toBe(true);
});

it("a hit is the opening of a file, and a failure says why", async () => {
  const { url } = await start({ endpoint: collector.url });
  const path = `${url}/v2/library/app/manifests/${image.root.digest}`;
  await ask(path);
  // A client has a manifest a little before it is held.
  await expect.poll(() => hubcap?.metric("hubcap_cache_manifests")).toBe(1);
  await ask(path);
  const hit = await traceOf({ "hubcap.outcome": "hit" });
  expect(names(hit.parts)).toEqual(["open on disk"]);
  await ask(`${url}/v2/library/app/manifests/nothing`);
  const failed = await traceOf({ "hubcap.outcome": "error" });
  expect(failed.root.error).toMatch(/has no manifest library\/app:nothing/);
});

it("nothing secret is sent to the collector, and no trace to the upstream", async () => {
  const headersFile = join(tmpdir(), `hubcap-headers-${process.pid}`);
  await writeFile(headersFile, "Authorization: Bearer collector-token\nX-Scope: tests\n");
  const { url } = await start({ endpoint: collector.url, headersFile });
  const layer = image.platforms.get("linux/amd64")?.layers[0];
  await ask(`${url}/v2/library/app/manifests/1`, { headers: { traceparent } });
  await ask(`${url}/v2/library/app/blobs/${layer?.digest}`, { headers: { traceparent } });
  await traceOf({ "hubcap.reference": layer?.digest });
  expect(collector.requests.every(({ path }) => path === "/v1/traces")).toBe(true);
  expect(collector.requests[0]?.headers).toMatchObject({
    authorization: "Bearer collector-token",
    "x-scope": "tests",
  });
  const sent = collector.bodies.join("");
  const shown = hub.counts.requests.flatMap(({ headers, path }) => [
    headers["authorization"],
    path.split("?")[1],
  ]);
  const secrets = [password, ...shown.filter((text) => text !== undefined && text.length > 20)];
  expect(secrets.length).toBeGreaterThan(3);
  for (const secret of secrets) expect(sent).not.toContain(secret?.replace(/^\w+ /, ""));
  expect(hub.counts.requests.filter(({ headers }) => "traceparent" in headers)).toEqual([]);
  expect(JSON.stringify(hubcap?.logs())).not.toContain("collector-token");
});

it("a request that is not sampled is not traced, also if it is part of a trace of its own", async () => {
  const { url } = await start({ endpoint: collector.url, sampleRatio: "0%" });
  const path = `${url}/v2/library/app/manifests/${image.root.digest}`;
  await ask(path);
  await ask(path, { headers: { traceparent: `00-${traceId}-${spanId}-00` } });
  await ask(path, { headers: { traceparent } });
  await hubcap?.stop();
  expect(collector.spans).toEqual([]);
});

it("a collector that fails costs spans and one line of the log, and no pull", async () => {
  collector.status = 400;
  const { url } = await start({ endpoint: collector.url });
  const path = `${url}/v2/library/app/manifests/${image.root.digest}`;
  for (let count = 1; count <= 3; count++) {
    expect((await ask(path)).status).toBe(200);
    await vi.waitFor(() => expect(collector.requests.length).toBeGreaterThanOrEqual(count), patience);
  }
  collector.status = 200;
  await ask(path, { headers: { "x-hubcap-node": "later" } });
  await traceOf({ "hubcap.client": "later" });
  await hubcap?.logged((line) => line["msg"] === "traces are sent again");
  const answer = hubcap?.logs().filter((line) => String(line["msg"]).startsWith("traces cannot be sent"));
  expect(answer).toHaveLength(1);
});

it("the last spans are sent when the process ends", async () => {
  const { url } = await start({ endpoint: collector.url });
  await ask(`${url}/v2/library/app/manifests/${image.root.digest}`, { headers: { "x-hubcap-node": "last" } });
  await hubcap?.stop();
  expect(collector.spans.some(({ attributes }) => attributes["hubcap.client"] === "last")).toBe(true);
});

it("without an endpoint nothing is sent, and nothing of OpenTelemetry is loaded", async () => {
  const { url, pid } = await start({ sampleRatio: "100%" });
  await ask(`${url}/v2/library/app/manifests/1`, { headers: { traceparent } });
  await hubcap?.stop();
  expect(pid).toBeGreaterThan(0);
  expect(collector.requests).toEqual([]);
  // One file imports it, and that file is imported in one place, when it is wanted.
  const source = join(import.meta.dirname, "../../src");
  const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith(".ts"),
  );
  const importing = (pattern: RegExp): string[] =>
    files.filter((file) => pattern.test(readFileSync(join(source, file), "utf8")));
  expect(importing(/from "@opentelemetry\//)).toEqual(["telemetry/tracing.ts"]);
  expect(importing(/import (?!type )[^;]*from "[^"]*\/tracing\.ts"/)).toEqual(["config/schema.ts"]);
  expect(importing(/await import\("\.\.\/telemetry\/tracing\.ts"\)/)).toEqual(["serve/observability.ts"]);
});
