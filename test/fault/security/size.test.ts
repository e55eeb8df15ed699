/** `maxSize` holds for what a node unpacks, whatever the manifest says of it. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { ask } from "../../support/ask.ts";
import { digestOf } from "../../support/content.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";

const repository = "team/app";

let hub: Hub;
let hubcap: Hubcap;

beforeAll(async () => {
  hub = await startHub();
  const policy = { rules: [{ match: ["**"], maxSize: "50kB" }] };
  const config = { upstreams: { "docker.io": upstreamOf(hub) }, policy };
  hubcap = await startHubcap({ config, inProcess: true });
});
afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
});

/** Pushes an image whose manifest says that its one layer has 10 bytes; what its pull and the layer's are answered. */
async function pullLying(layerBytes: number): Promise<number[]> {
  const image = await buildImage({
    seed: `lie ${layerBytes}`,
    layers: 1,
    layerBytes,
    platforms: ["linux/amd64"],
  });
  const { manifest, layers } = image.platforms.get("linux/amd64") ?? {};
  const [layer] = layers ?? [];
  if (!manifest || !layer) throw new Error("no image");
  const honest = image.manifests.get(manifest.digest)?.bytes.toString() ?? "";
  const bytes = Buffer.from(honest.replace(`"size": ${layer.size}`, '"size": 10'));
  expect(bytes.toString()).not.toBe(honest);
  const { mediaType } = manifest;
  const root = { mediaType, digest: digestOf(bytes), size: bytes.length };
  hub.push(
    { root, manifests: new Map([[root.digest, { mediaType, bytes }]]), blobs: image.blobs },
    repository,
  );
  const statuses: number[] = [];
  for (const path of [`manifests/${root.digest}`, `blobs/${layer.digest}`])
    statuses.push((await ask(`${hubcap.url}/v2/${repository}/${path}`)).status);
  return statuses;
}

it("refuses an image whose layer is larger than its manifest says, and the layer", async () => {
  hub.counts.reset();
  expect(await pullLying(100_000)).toEqual([403, 403]);
  expect(hub.counts.cdnGets.total).toBe(0);
});

it("serves one that is small enough all the same: its client finds the lie", async () => {
  expect(await pullLying(10_000)).toEqual([200, 200]);
});
