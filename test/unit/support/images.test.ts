/** Images of the stand-in are what they say: every digest true, every layer a tar, nothing left to chance. */
import { strict as assert } from "node:assert";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { allBytes } from "../../support/content.ts";
import { buildArtifact, buildImage, type Bundle, type ContentDescriptor } from "../../support/images.ts";

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

interface Document {
  readonly mediaType: string;
  readonly manifests?: readonly ContentDescriptor[];
  readonly config?: ContentDescriptor;
  readonly layers?: readonly ContentDescriptor[];
}

async function bytesOf(bundle: Bundle, digest: string): Promise<Buffer> {
  const content = bundle.blobs.get(digest);
  return content === undefined ? Buffer.alloc(0) : allBytes(content);
}

/** Walks from the root and returns all descriptors, each of which must be true. */
async function walk(bundle: Bundle): Promise<ContentDescriptor[]> {
  const found: ContentDescriptor[] = [];
  const visit = async (descriptor: ContentDescriptor): Promise<void> => {
    found.push(descriptor);
    const manifest = bundle.manifests.get(descriptor.digest);
    const bytes = manifest?.bytes ?? (await bytesOf(bundle, descriptor.digest));
    assert.equal(sha256(bytes), descriptor.digest);
    assert.equal(bytes.length, descriptor.size);
    if (manifest !== undefined) {
      const document = JSON.parse(bytes.toString()) as Document;
      assert.equal(document.mediaType, descriptor.mediaType);
      assert.equal(manifest.mediaType, descriptor.mediaType);
      for (const child of [
        ...(document.manifests ?? []),
        ...(document.config === undefined ? [] : [document.config]),
        ...(document.layers ?? []),
      ]) {
        await visit(child);
      }
    }
  };
  await visit(bundle.root);
  return found;
}

it.each(["oci", "docker"] as const)("builds a true %s image of two platforms", async (type) => {
  const image = await buildImage({ type, attestations: true });
  const found = await walk(image);
  expect(new Set(found.map(({ digest }) => digest)).size).toBe(image.manifests.size + image.blobs.size);
  expect([...image.platforms.keys()]).toEqual(["linux/amd64", "linux/arm64"]);
  expect(image.manifests.size).toBe(5);
});

it("packs layers that tar can read, named by the config's diff_ids", async () => {
  const image = await buildImage({ layerBytes: 1000 });
  const platform = image.platforms.get("linux/amd64");
  const config = JSON.parse((await bytesOf(image, platform?.config.digest ?? "")).toString()) as {
    rootfs: { diff_ids: string[] };
  };
  for (const [place, layer] of (platform?.layers ?? []).entries()) {
    const packed = await bytesOf(image, layer.digest);
    expect(sha256(gunzipSync(packed))).toBe(config.rootfs.diff_ids[place]);
    const listed = spawnSync("tar", ["tzf", "-"], { input: packed });
    expect(listed.stderr.toString()).toBe("");
    expect(listed.stdout.toString()).toMatch(/^etc\/\netc\/os-release\nsrv\/\nsrv\/[0-9a-f]{12}\.bin\n$/);
  }
});

it("depends on its options alone, and shares only the layers that they name", async () => {
  const options = { layers: 3, sharedLayers: 2 };
  const one = await buildImage({ ...options, seed: "one" });
  expect((await buildImage({ ...options, seed: "one" })).root).toEqual(one.root);
  const two = await buildImage({ ...options, seed: "two" });
  const both = [...one.blobs.keys()].filter((digest) => two.blobs.has(digest));
  expect(both).toHaveLength(2);
});

it("keeps large layers on disk, with bytes that do not compress and can be read from anywhere", async () => {
  const image = await buildImage({ layers: 1, layerBytes: 6 * 1024 * 1024, platforms: ["linux/amd64"] });
  await walk(image);
  const again = await buildImage({ layers: 1, layerBytes: 6 * 1024 * 1024, platforms: ["linux/amd64"] });
  expect(again.root).toEqual(image.root);
  const { digest = "", size = 0 } = image.platforms.get("linux/amd64")?.layers[0] ?? {};
  expect(size).toBeGreaterThan(6 * 1024 * 1024);
  const whole = await bytesOf(image, digest);
  const content = image.blobs.get(digest);
  const part = content === undefined ? [] : await content.read(5_000_000, 5_000_100).toArray();
  expect(Buffer.concat(part)).toEqual(whole.subarray(5_000_000, 5_000_100));
});

it("builds artifacts, with a subject or without", async () => {
  const image = await buildImage();
  const signature = buildArtifact({ artifactType: "application/vnd.test.signature", subject: image.root });
  await walk(signature);
  expect(JSON.parse(signature.manifests.get(signature.root.digest)?.bytes.toString() ?? "")).toMatchObject({
    artifactType: "application/vnd.test.signature",
    subject: image.root,
  });
  await walk(buildArtifact({ artifactType: "application/vnd.test.chart", payload: "chart" }));
});
