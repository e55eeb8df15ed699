/** How a start ends that cannot succeed, and what a client may make a running Hubcap remember. */
import { createServer } from "node:net";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ask } from "../support/ask.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import { buildImage } from "../support/images.ts";

let hub: Hub;
let hubcap: Hubcap;

beforeAll(async () => {
  hub = await startHub();
  hubcap = await startHubcap({
    config: { upstreams: { "docker.io": upstreamOf(hub, { timeouts: { headers: "15s" } }) } },
  });
});
afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
});

it("says in one line where it listens, what it serves and where it stores", async () => {
  const lines = hubcap.logs().filter(({ msg }) => msg === "serving");
  expect(lines).toEqual([
    expect.objectContaining({
      registry: hubcap.url,
      status: hubcap.statusUrl,
      upstreams: ["docker.io"],
      storage: hubcap.root,
    }),
  ]);
});

it.each(["registry", "status"])("ends with one line when the port of the %s is taken", async (section) => {
  const other = createServer().listen(0, "127.0.0.1");
  await new Promise((listening) => other.once("listening", listening));
  const address = other.address();
  const port = typeof address === "object" ? address?.port : undefined;
  const config = {
    upstreams: { "docker.io": upstreamOf(hub) },
    [section]: { listen: `127.0.0.1:${port}` },
  };
  await expect(startHubcap({ config })).rejects.toThrow(
    /cannot listen on 127\.0\.0\.1:\d+: another program does; .*registry\.listen.*EADDRINUSE/,
  );
  other.close();
});

it("answers within 20 s, however many questions one request takes (R28)", async () => {
  const image = await buildImage({ seed: "slow", layers: 1, layerBytes: 1000 });
  hub.push(image, "library/slow", "1");
  const delay = hub.fault({ method: "HEAD", repository: "library/slow", kind: "delay", ms: 10_000 });
  const hang = hub.fault({
    origin: "registry",
    method: "GET",
    repository: "library/slow",
    asks: "manifest",
    kind: "hang",
  });
  const started = Date.now();
  const { status, headers } = await ask(`${hubcap.url}/v2/library/slow/manifests/1`);
  expect([status, Number(headers["retry-after"]) > 0]).toEqual([503, true]);
  expect(Date.now() - started).toBeLessThan(24_000);
  delay.remove();
  hang.remove();
});

it("keeps no lists for digests that clients make up", async () => {
  const image = await buildImage({ seed: "listed", layers: 1, layerBytes: 1000 });
  hub.push(image, "library/listed", "1");
  const made = Array.from({ length: 20 }, (_, n) => `sha256:${String(n).padStart(64, "0")}`);
  for (const digest of made) {
    const { status } = await ask(`${hubcap.url}/v2/library/listed/referrers/${digest}`);
    expect(status).toBe(200);
  }
  const before = await hubcap.metric("hubcap_cache_manifests");
  await ask(`${hubcap.url}/v2/library/listed/manifests/1`);
  // A client has a manifest a little before it is held.
  await expect.poll(() => hubcap.metric("hubcap_cache_manifests")).toBe(before + 1);
  await ask(`${hubcap.url}/v2/library/listed/referrers/${image.root.digest}`);
  await ask(`${hubcap.url}/v2/library/listed/tags/list`);
  const catalog = new Database(join(hubcap.root, "catalog.sqlite"), { readonly: true });
  const subjects = catalog.prepare("SELECT subject FROM listing ORDER BY subject").pluck().all();
  catalog.close();
  expect(subjects).toEqual([image.root.digest, "tags"].toSorted());
});

it("does not take a range into account where no bytes are asked for (RFC 9110 section 14.2)", async () => {
  const image = await buildImage({ seed: "ranged", layers: 1, layerBytes: 1000 });
  hub.push(image, "library/ranged", "1");
  const [layer] = [...image.platforms.values()].flatMap(({ layers }) => layers);
  const { status, headers } = await ask(`${hubcap.url}/v2/library/ranged/blobs/${layer?.digest}`, {
    method: "HEAD",
    headers: { range: "bytes=0-9" },
  });
  expect([status, headers["content-length"]]).toEqual([200, String(layer?.size)]);
});
