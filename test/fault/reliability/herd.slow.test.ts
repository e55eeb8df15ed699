/** The herd: 50 nodes pull 10 images at the same moment, through Hubcap and through the reference registry's proxy. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { withClient } from "../../support/clients.ts";
import { ReferenceRegistry } from "../../support/clients/referenceRegistry.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf } from "../../support/hubcap.ts";
import { buildImage, type Image } from "../../support/images.ts";
import { pullLikeContainerd } from "../../support/pull.ts";

const nodes = 50;
const credential = { username: "cluster", password: "secret" };

/** What one herd cost the upstream. */
interface Figures {
  readonly "manifest GETs": number;
  readonly "blob GETs": number;
  readonly "bytes of blobs": number;
  readonly "token requests": number;
  readonly "failed pulls": number;
  readonly seconds: string;
}

let hub: Hub;
let images: ReadonlyMap<string, Image>;
const figures: Record<string, Figures> = {};

beforeAll(async () => {
  hub = await startHub({ accounts: { cluster: { password: "secret", limit: "unlimited" } } });
  const made = new Map<string, Image>();
  for (let number = 0; number < 10; number += 1) {
    // Half of them stand on a common base.
    const sharedLayers = number % 2 === 0 ? 2 : 0;
    const image = await buildImage({
      seed: `herd ${number}`,
      layers: 4,
      layerBytes: 64 * 1024,
      sharedLayers,
    });
    made.set(`library/herd${number}`, image);
    hub.push(image, `library/herd${number}`, "1");
  }
  images = made;
});

afterAll(async () => {
  await hub.stop();
  // eslint-disable-next-line no-console -- the figures are what this file is for
  console.table(figures);
});

/** Half of the nodes are amd64, half arm64; each pulls every image at once in containerd's sequence. Resolves with what failed. */
async function pullAll(name: string, mirror: string, ns?: string): Promise<string[]> {
  hub.counts.reset();
  const started = performance.now();
  const pulls = await Promise.all(
    Array.from({ length: nodes }, (_, node) => (node % 2 === 0 ? "linux/amd64" : "linux/arm64")).flatMap(
      (platform) =>
        [...images].map(async ([repository, image]) => {
          const source = ns === undefined ? {} : { ns };
          const pull = await pullLikeContainerd({ mirror, repository, reference: "1", platform, ...source });
          const isRight = pull.imageId === image.platforms.get(platform)?.config.digest;
          return pull.errors.concat(isRight ? [] : [`${repository} ${platform}: another image`]);
        }),
    ),
  );
  const { manifestGets, blobGets, tokenRequests, requests } = hub.counts;
  figures[name] = {
    "manifest GETs": manifestGets.total,
    "blob GETs": blobGets.total,
    "bytes of blobs": requests
      .filter(({ origin }) => origin === "cdn")
      .reduce((sum, { bytes }) => sum + bytes, 0),
    "token requests": tokenRequests.total,
    "failed pulls": pulls.filter((errors) => errors.length > 0).length,
    seconds: ((performance.now() - started) / 1000).toFixed(1),
  };
  return pulls.flat();
}

function once(digests: Iterable<string>): Record<string, number> {
  return Object.fromEntries([...digests].map((digest) => [digest, 1]));
}

describe("50 clients pull 10 uncached two-platform images at once", () => {
  it.each([1, 2])(
    "and the upstream is asked for each manifest and each blob once, by %i processes",
    async (workers) => {
      const hubcap = await startHubcap({
        config: { workers, upstreams: { "docker.io": upstreamOf(hub, { credential }) } },
      });
      expect(await pullAll(`Hubcap, workers: ${workers}`, hubcap.url, "docker.io")).toEqual([]);
      await hubcap.dispose();

      const { manifestGets, blobGets, cdnGets, tokenRequests } = hub.counts;
      const manifests = new Set([...images.values()].flatMap((image) => [...image.manifests.keys()]));
      const blobs = new Map([...images.values()].flatMap((image) => [...image.blobs]));
      expect(manifestGets.byDigest).toEqual(once(manifests));
      expect(blobGets.byDigest).toEqual(once(blobs.keys()));
      expect(cdnGets.byDigest).toEqual(once(blobs.keys()));
      expect(Object.values(tokenRequests.byScope)).toEqual([...images.keys()].map(() => 1));
      expect(figures[`Hubcap, workers: ${workers}`]?.["bytes of blobs"]).toBe(
        [...blobs.values()].reduce((sum, { size }) => sum + size, 0),
      );
    },
    60_000,
  );

  withClient("docker-registry", (program) => {
    it("for comparison: through its proxy mode", async () => {
      const folder = await mkdtemp(join(tmpdir(), "hubcap-herd-"));
      const upstream = { url: hub.url, ...credential };
      const registry = await ReferenceRegistry.start(program, { folder, upstream });
      await pullAll(`docker-registry ${program.version}`, registry.url);
      await registry.stop();
      await rm(folder, { recursive: true });
    });
  });
});
