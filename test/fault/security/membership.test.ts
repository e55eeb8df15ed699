/** What one repository holds is not another's to give: bytes are kept once, and leave to have them for each repository. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { ask, type Reply } from "../../support/ask.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage, type Bundle, type ContentDescriptor, type Image } from "../../support/images.ts";
import { patience } from "../../support/patience.ts";

const password = "s3cret";
const ways = ["GET", "HEAD", "Range", "conditional"] as const;
type Way = (typeof ways)[number];

let hub: Hub;
let hubcap: Hubcap;
let shared: Image;

beforeAll(async () => {
  hub = await startHub({ accounts: { cluster: { password }, somebody: { password } } });
  const credential = { username: "cluster", password };
  hubcap = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub, { credential }) } } });
  // Larger than what a fill holds back, so that a growing one has something to give.
  shared = await buildImage({ seed: "shared", layers: 1, layerBytes: 400_000 });
});

afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
});

afterEach(() => {
  hub.faults.clear();
  hub.counts.reset();
});

function layerOf(image: Image): ContentDescriptor {
  const [layer] = image.platforms.get("linux/amd64")?.layers ?? [];
  if (!layer) throw new Error("an image without layers");
  return layer;
}

/** A repository that has nothing of the image, or does and is for other accounts only. */
async function other(name: string, may: "see nothing" | "be refused"): Promise<string> {
  const bundle: Bundle = may === "see nothing" ? await buildImage({ seed: name }) : shared;
  hub.push(bundle, name, "1");
  if (may === "be refused") hub.shelf.restrict(name, ["somebody"]);
  return name;
}

function askFor(repository: string, kind: "blobs" | "manifests", digest: string, way: Way): Promise<Reply> {
  return ask(`${hubcap.url}/v2/${repository}/${kind}/${digest}`, {
    method: way === "HEAD" ? "HEAD" : "GET",
    headers: {
      ...(way === "Range" && { range: "bytes=0-9" }),
      ...(way === "conditional" && { "if-none-match": `"${digest}"` }),
    },
  });
}

function hits(): Promise<number> {
  return hubcap.metric("hubcap_requests_total", { kind: "blob", outcome: "hit" });
}

/** Pulls a blob until it is a hit: its last bytes are sent a moment before it is safe on disk. */
async function hold(repository: string, digest: string): Promise<void> {
  const before = await hits();
  await vi.waitUntil(async () => {
    await askFor(repository, "blobs", digest, "GET");
    return (await hits()) > before;
  }, patience);
}

function askedFor(repository: string): number {
  return hub.counts.requests.filter((request) => request.repository === repository).length;
}

describe("content that is held for a private repository", () => {
  beforeAll(async () => {
    hub.push(shared, "secret/app", "1");
    hub.shelf.restrict("secret/app", ["cluster"]);
    const { digest } = layerOf(shared);
    await hold("secret/app", digest);
    await askFor("secret/app", "manifests", shared.root.digest, "GET");
    hub.counts.reset();
  });

  test("S11: its own repository has it without asking", async () => {
    expect((await askFor("secret/app", "blobs", layerOf(shared).digest, "GET")).status).toBe(200);
    expect((await askFor("secret/app", "manifests", shared.root.digest, "GET")).status).toBe(200);
    expect(hub.counts.requests).toEqual([]);
  });

  test.each(ways.flatMap((way) => [[way, "blobs"] as const, [way, "manifests"] as const]))(
    "S11: by %s of %s another repository has it only if its own upstream says so",
    async (way, kind) => {
      const digest = kind === "blobs" ? layerOf(shared).digest : shared.root.digest;
      const place = `${way}/${kind}`.toLowerCase();
      const without = await other(`without/${place}`, "see nothing");
      const hidden = await other(`hidden/${place}`, "be refused");
      for (const [repository, status] of [
        [without, 404],
        [hidden, 403],
      ] as const) {
        const reply = await askFor(repository, kind, digest, way);
        expect([reply.status, reply.headers["docker-content-digest"]]).toEqual([status, undefined]);
        expect(askedFor(repository)).toBeGreaterThan(0);
      }
    },
  );

  test("S11: a repository that has it too is asked, and then given what is held", async () => {
    hub.push(shared, "open/app", "1");
    const { digest, size } = layerOf(shared);
    const reply = await askFor("open/app", "blobs", digest, "GET");
    expect([reply.status, reply.body.length]).toEqual([200, size]);
    const manifest = await askFor("open/app", "manifests", shared.root.digest, "GET");
    expect([manifest.status, manifest.body.length]).toEqual([200, shared.root.size]);
    expect(hub.counts.blobHeads.byRepository["open/app"]).toBe(1);
    expect([hub.counts.blobGets.total, hub.counts.manifestGets.total]).toEqual([0, 0]);
  });
});

describe("content that is on its way in for a private repository", () => {
  test.each(["GET", "HEAD", "Range"] as const)(
    "S11: by %s another repository does not see it grow",
    async (way) => {
      const place = way.toLowerCase();
      const image = await buildImage({ seed: `growing ${way}`, layers: 1, layerBytes: 400_000 });
      const { digest, size } = layerOf(image);
      hub.push(image, `growing/${place}`, "1");
      hub.push(image, `open/${place}`, "1");
      const without = await other(`without/growing/${place}`, "see nothing");
      const stall = hub.fault({ origin: "cdn", kind: "stall", after: 200_000 });
      const first = askFor(`growing/${place}`, "blobs", digest, "GET");
      await stall.held();
      expect((await askFor(without, "blobs", digest, way)).status).toBe(404);
      const second = askFor(`open/${place}`, "blobs", digest, way);
      await hub.counts.when(({ repository, over }) => repository === `open/${place}` && over);
      stall.release();
      expect((await first).body.length).toBe(size);
      expect((await second).status).toBe(way === "Range" ? 206 : 200);
      expect(hub.counts.cdnGets.total).toBe(1);
    },
  );
});

test("S12: what is gone from one repository does not come back through another", async () => {
  const image = await buildImage({ seed: "deleted", layers: 1 });
  const { digest, size } = layerOf(image);
  hub.push(image, "deleted/here", "1");
  hub.push(image, "deleted/there", "1");
  await hold("deleted/here", digest);

  hub.shelf.delete("deleted/here", digest);
  await rm(join(hubcap.root, "blobs/sha256", digest.slice(7, 9), digest.slice(7)));
  await hold("deleted/there", digest);
  expect((await askFor("deleted/here", "blobs", digest, "GET")).status).toBe(404);
  expect((await askFor("deleted/there", "blobs", digest, "GET")).body.length).toBe(size);
});
