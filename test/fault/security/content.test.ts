/** What an upstream sends is believed as far as its bytes prove it, and nothing else of it is kept or passed on. */
import { readdir } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { ask, type Reply } from "../../support/ask.ts";
import { allBytes, digestOf } from "../../support/content.ts";
import type { Fault } from "../../support/faults.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage, type Image } from "../../support/images.ts";

const manifestType = "application/vnd.oci.image.manifest.v1+json";
const indexType = "application/vnd.oci.image.index.v1+json";
const somewhere = `sha256:${"5".repeat(64)}`;

let hub: Hub;
let hubcap: Hubcap;
let other: Image;

beforeAll(async () => {
  hub = await startHub({ limit: "unlimited" });
  other = await buildImage({ seed: "other", layers: 1 });
  hubcap = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub) } } });
});

afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
});

afterEach(() => {
  hub.faults.clear();
  hub.counts.reset();
});

interface Place {
  readonly repository: string;
  readonly image: Image;
  /** The digest of tag 1. */
  readonly digest: string;
  /** A layer of it. */
  readonly layer: string;
}

let places = 0;

/** A repository of which nothing is held yet, with an image that is nowhere else. */
async function fresh(): Promise<Place> {
  places += 1;
  const repository = `fresh/${places}`;
  const image = await buildImage({ seed: repository, layers: 1 });
  hub.push(image, repository, "1");
  hub.push(other, repository, "other");
  const layer = image.platforms.get("linux/amd64")?.layers[0]?.digest ?? "";
  return { repository, image, digest: image.root.digest, layer };
}

function askManifest(repository: string, reference: string): Promise<Reply> {
  return ask(`${hubcap.url}/v2/${repository}/manifests/${reference}`);
}

function askBlob({ repository, layer }: Place): Promise<Reply> {
  return ask(`${hubcap.url}/v2/${repository}/blobs/${layer}`);
}

function errorOf({ status, body }: Reply): string {
  return `${status} ${/"code":"(?<code>[A-Z_]+)"/.exec(body.toString())?.groups?.["code"]}`;
}

/** Asks once with a fault and once without: refused, not kept, then right. */
async function expectRefused(fault: Fault, pull: () => Promise<Reply>, digest: string): Promise<void> {
  const active = hub.fault(fault);
  expect(errorOf(await pull())).toBe("502 UPSTREAM_INVALID");
  expect(active.hits).toBeGreaterThan(0);
  active.remove();
  const reply = await pull();
  expect([reply.status, digestOf(reply.body)]).toEqual([200, digest]);
}

describe("manifests that are not what they are said to be", () => {
  test("S17: other bytes than those of the digest are not taken, whatever their header says", async () => {
    const { repository, image, digest } = await fresh();
    const body = other.manifests.get(other.root.digest)?.bytes ?? "";
    await expectRefused(
      { asks: "manifest", method: "GET", kind: "body", body },
      () => askManifest(repository, digest),
      digest,
    );
    // Held is what was right, and the wrong bytes are nowhere, not under their own digest either.
    expect((await askManifest(repository, digest)).body.length).toBe(image.root.size);
    expect(hub.counts.manifestGets.byReference[digest]).toBe(2);
    const files = await readdir(hubcap.root, { recursive: true });
    expect(files.filter((name) => name.includes(other.root.digest.slice(7)))).toEqual([]);
  });

  test.each([
    ["another manifest's digest", () => other.root.digest],
    ["a digest of nothing", () => somewhere],
    ["no digest at all", () => "latest"],
  ])("S18: a tag with %s in its header is not believed", async (_, claimed) => {
    const { repository, digest } = await fresh();
    // Without a digest in the answer to HEAD, the tag itself is asked for.
    hub.fault({ method: "HEAD", kind: "headers", remove: ["docker-content-digest"] });
    const set = { "docker-content-digest": claimed() };
    const fault = { asks: "manifest", repository, method: "GET", kind: "headers", set } as const;
    await expectRefused(fault, () => askManifest(repository, "1"), digest);
  });

  test("S18: a tag that is announced as nothing we can get is no answer, and believed no longer", async () => {
    const { repository } = await fresh();
    const set = { "docker-content-digest": somewhere };
    const fault = hub.fault({ asks: "manifest", repository, kind: "headers", set });
    expect((await askManifest(repository, "1")).status).toBe(404);
    fault.remove();
    expect((await askManifest(repository, "1")).status).toBe(200);
  });
});

describe("documents that two readers could understand differently", () => {
  const config = `{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"${somewhere}","size":2}`;
  const child = `{"mediaType":"${manifestType}","digest":"${somewhere}","size":2}`;
  const dockerType = "application/vnd.docker.distribution.manifest.v2+json";
  const opening = `"schemaVersion":2,"mediaType":"${manifestType}"`;

  test.each([
    [
      "S19: an image that is an index too",
      `{${opening},"config":${config},"layers":[],"manifests":[${child}]}`,
    ],
    ["S19: a type stated twice", `{${opening},"mediaType":"${manifestType}","config":${config},"layers":[]}`],
    ["S19: layers in another case", `{${opening},"config":${config},"LAYERS":[]}`],
    ["S19: an image of another type", `{"schemaVersion":2,"mediaType":"${dockerType}","config":${config}}`],
    ["S19: a page of HTML", "<!doctype html><title>Sign in to the network</title>"],
    ...["-1", "1.5", "1e400", "1152921504606846976", '"5"', "null"].map((size) => [
      `S21: a layer of ${size} bytes`,
      `{${opening},"config":${config},"layers":[${config.replace('"size":2', `"size":${size}`)}]}`,
    ]),
  ])("%s is refused and not kept", async (_, text = "") => {
    const { repository } = await fresh();
    const bytes = Buffer.from(text);
    const digest = digestOf(bytes);
    const root = { mediaType: manifestType, digest, size: bytes.length };
    const manifests = new Map([[digest, { mediaType: manifestType, bytes }]]);
    hub.push({ root, manifests, blobs: new Map() }, repository, "odd");
    for (const reference of ["odd", digest, digest]) {
      expect(errorOf(await askManifest(repository, reference))).toBe("502 UPSTREAM_INVALID");
    }
    // Each pull asked anew: nothing was kept.
    expect(hub.counts.manifestGets.byReference[digest]).toBe(3);
    const heads = await ask(`${hubcap.url}/v2/${repository}/manifests/${digest}`, { method: "HEAD" });
    expect(JSON.stringify(heads.headers)).not.toMatch(/NaN|Infinity|null/);
  });

  test.each(["text/html", "application/json", manifestType, ""])(
    "S19: an index that is sent as %j is refused and not kept",
    async (type) => {
      const { repository, digest } = await fresh();
      await expectRefused(
        { asks: "manifest", repository, method: "GET", kind: "headers", set: { "content-type": type } },
        () => askManifest(repository, digest),
        digest,
      );
    },
  );
});

describe("answers without end", () => {
  const bytes = 256 * 1024 * 1024;
  // What the systems at both ends of a connection hold in their buffers was sent, but not read.
  const buffers = 12 * 1024 * 1024;

  test.each(["chunked", "length"] as const)("S22: a manifest of 256 MiB is cut (%s)", async (framing) => {
    const { repository, digest } = await fresh();
    const headers = { "content-type": indexType };
    const fault = {
      asks: "manifest",
      method: "GET",
      repository,
      kind: "flood",
      bytes,
      framing,
      headers,
    } as const;
    await expectRefused(fault, () => askManifest(repository, digest), digest);
    const [flood] = hub.counts.requests.filter((request) => request.fault === "flood");
    expect(flood).toMatchObject({ complete: false, over: true });
    expect(flood?.bytes).toBeLessThan(4 * 1024 * 1024 + buffers);
  });

  test("S22: a token of 256 MiB is cut", async () => {
    const { repository, digest } = await fresh();
    const fault = { origin: "token", kind: "flood", bytes, prefix: '{"token":"' } as const;
    await expectRefused(fault, () => askManifest(repository, digest), digest);
    const [flood] = hub.counts.requests.filter((request) => request.fault === "flood");
    expect(flood).toMatchObject({ complete: false, over: true });
    expect(flood?.bytes).toBeLessThan(buffers);
  });
});

describe("encodings", () => {
  const thousand = Array(1000).fill("gzip").join(", ");

  test.each<[string, Fault]>([
    ["gzipped", { kind: "gzip" }],
    ["said to be in another", { kind: "headers", set: { "content-encoding": "br" } }],
    ["said to be in a thousand", { kind: "headers", set: { "content-encoding": thousand } }],
  ])("S23: what is %s is refused, unread", async (_, fault) => {
    const place = await fresh();
    const { repository, digest, layer } = place;
    const manifest = { ...fault, asks: "manifest", repository, method: "GET" } as const;
    await expectRefused(manifest, () => askManifest(repository, digest), digest);
    await expectRefused({ ...fault, origin: "cdn" }, () => askBlob(place), layer);
  });
});

describe("headers of an upstream", () => {
  const own = ["connection", "content-length", "content-type", "date", "docker-distribution-api-version"];
  const known = [
    ...own,
    "accept-ranges",
    "age",
    "docker-content-digest",
    "keep-alive",
    "x-content-type-options",
    "ratelimit",
    "ratelimit-policy",
  ];
  const evil = [
    "X: a\r\nSet-Cookie: session=b",
    "Connection: docker-content-digest, content-length, close",
    'WWW-Authenticate: Basic realm="your password, please"',
    "Location: https://evil.test/",
    "Link: <https://evil.test/>; rel=next",
    "Access-Control-Allow-Origin: *",
    "Content-Disposition: attachment; filename=evil.exe",
    "Warning: 299 - evil",
    "Server: evil",
    "__proto__: evil",
  ];

  function raw(contentType: string, digest: string, body: Uint8Array): Buffer {
    const lines = [
      "HTTP/1.1 200 OK",
      `Content-Type: ${contentType}`,
      `Content-Length: ${body.length}`,
      `Docker-Content-Digest: ${digest}`,
      ...evil,
    ];
    return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), body]);
  }

  function expectClean({ status, headers }: Reply): void {
    expect(status).toBe(200);
    expect(Object.keys(headers).filter((name) => !known.includes(name))).toEqual([]);
    expect(JSON.stringify(headers)).not.toContain("evil");
  }

  test("S33: none that is not ours reaches a client, whatever is asked for", async () => {
    const { repository, image, digest, layer } = await fresh();
    const manifest = raw(indexType, digest, image.manifests.get(digest)?.bytes ?? Buffer.of());
    const content = image.blobs.get(layer);
    const blob = raw("text/html", layer, content ? await allBytes(content) : Buffer.of());
    const tags = raw("application/json", digest, Buffer.from('{"tags":["1"]}'));
    const referrers = raw(indexType, digest, Buffer.from('{"schemaVersion":2,"manifests":[]}'));
    hub.fault({ repository, method: "GET", asks: "manifest", kind: "raw", bytes: manifest });
    hub.fault({ origin: "cdn", kind: "raw", bytes: blob });
    hub.fault({ repository, asks: "tags", kind: "raw", bytes: tags });
    hub.fault({ repository, asks: "referrers", kind: "raw", bytes: referrers });
    for (const path of [
      `manifests/${digest}`,
      "manifests/1",
      `blobs/${layer}`,
      "tags/list",
      `referrers/${digest}`,
    ]) {
      // As it came, and then from what is kept.
      for (const method of ["GET", "HEAD", "GET"]) {
        expectClean(await ask(`${hubcap.url}/v2/${repository}/${path}`, { method }));
      }
    }
  });

  test("S33: a challenge is met or refused, and never passed on", async () => {
    const { repository } = await fresh();
    hub.shelf.restrict(repository, ["somebody"]);
    const reply = await askManifest(repository, "1");
    expect(errorOf(reply)).toBe("403 DENIED");
    expect(Object.keys(reply.headers).filter((name) => !known.includes(name))).toEqual([]);
  });
});
