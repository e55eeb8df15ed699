/** What every implementation of Catalog must do. */
import { expect, it } from "vitest";
import { ociIndex, ociManifest } from "../../src/oci/descriptor.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { parseRepositoryName, parseTag, type Repository } from "../../src/oci/reference.ts";
import type { Catalog } from "../../src/store/catalog.ts";

function repository(upstream: string, text: string): Repository {
  const name = parseRepositoryName(text);
  if (!name) throw new Error(text);
  return { upstream, name };
}

const here = repository("docker.io", "library/nginx");
const there = repository("ghcr.io", "library/nginx");
const blob = digestOf(Buffer.from("a layer"));
const manifest = { digest: digestOf(Buffer.from("a manifest")), mediaType: ociManifest, size: 10 };
const newer = { digest: digestOf(Buffer.from("a newer manifest")), mediaType: ociManifest, size: 16 };
const tag = parseTag("1.29") ?? never();

function never(): never {
  throw new Error("unreachable");
}

/** Runs the contract; `make` gives an empty Catalog each time. */
export function catalogContract(make: () => Promise<Catalog>): void {
  it("knows nothing at first", async () => {
    const catalog = await make();
    expect(await catalog.blob(here, blob)).toBeUndefined();
    expect(await catalog.blobAnywhere(blob)).toBeUndefined();
    expect(await catalog.manifest(here, manifest.digest)).toBeUndefined();
    expect(await catalog.manifestAnywhere(manifest.digest)).toBeUndefined();
    expect(await catalog.tag(here, tag)).toBeUndefined();
    expect(await catalog.listing(here, "tags")).toBeUndefined();
  });

  it("holds a blob for the repository whose upstream answered, and for no other (S11)", async () => {
    const catalog = await make();
    await catalog.holdBlob(here, blob, 7);
    expect(await catalog.blob(here, blob)).toBe(7);
    expect(await catalog.blobAnywhere(blob)).toBe(7);
    expect(await catalog.blob(there, blob)).toBeUndefined();
    await catalog.link(there, blob);
    expect(await catalog.blob(there, blob)).toBe(7);
  });

  it("holds a manifest for its repository, and as a blob too", async () => {
    const catalog = await make();
    await catalog.holdManifest(here, manifest, [blob]);
    expect(await catalog.manifest(here, manifest.digest)).toEqual(manifest);
    expect(await catalog.manifestAnywhere(manifest.digest)).toEqual(manifest);
    expect(await catalog.manifest(there, manifest.digest)).toBeUndefined();
    expect(await catalog.blob(here, manifest.digest)).toBe(10);
  });

  it("does not hold what a manifest only names", async () => {
    const catalog = await make();
    await catalog.holdManifest(here, manifest, [blob]);
    expect(await catalog.blob(here, blob)).toBeUndefined();
  });

  it("gives adopted bytes to no repository before its upstream has answered for them", async () => {
    const catalog = await make();
    await catalog.adopt(blob, 7);
    await catalog.adopt(manifest.digest, manifest.size, { mediaType: ociManifest, names: [blob] });
    expect(await catalog.blobAnywhere(blob)).toBe(7);
    expect(await catalog.manifestAnywhere(blob)).toBeUndefined();
    expect(await catalog.manifestAnywhere(manifest.digest)).toEqual(manifest);
    expect(await catalog.blob(here, blob)).toBeUndefined();
    expect(await catalog.manifest(here, manifest.digest)).toBeUndefined();
    await catalog.link(here, manifest.digest);
    expect(await catalog.manifest(here, manifest.digest)).toEqual(manifest);
  });

  it("remembers what a tag meant, and the manifest that was held for it last", async () => {
    const catalog = await make();
    await catalog.resolve(here, tag, manifest, 1000);
    expect(await catalog.tag(here, tag)).toEqual({
      descriptor: manifest,
      checkedAt: 1000,
      alternate: undefined,
      held: undefined,
    });
    await catalog.holdManifest(here, manifest, []);
    expect(await catalog.tag(here, tag)).toEqual({
      descriptor: manifest,
      checkedAt: 1000,
      alternate: undefined,
      held: manifest,
    });
    await catalog.resolve(here, tag, newer, 2000);
    expect(await catalog.tag(here, tag)).toEqual({
      descriptor: newer,
      checkedAt: 2000,
      alternate: undefined,
      held: manifest,
    });
    await catalog.holdManifest(here, newer, []);
    expect((await catalog.tag(here, tag))?.held).toEqual(newer);
    expect(await catalog.tag(there, tag)).toBeUndefined();
  });

  it("keeps to the old image of a tag until one platform of the new one is held", async () => {
    const catalog = await make();
    const index = { ...newer, mediaType: ociIndex };
    const child = { digest: digestOf(Buffer.from("a platform")), mediaType: ociManifest, size: 10 };
    await catalog.holdManifest(here, manifest, []);
    await catalog.resolve(here, tag, manifest, 1000);
    await catalog.resolve(here, tag, index, 2000);
    await catalog.holdManifest(here, index, [child.digest]);
    expect((await catalog.tag(here, tag))?.held).toEqual(manifest);
    await catalog.holdManifest(there, child, []);
    expect((await catalog.tag(here, tag))?.held).toEqual(manifest);
    await catalog.link(here, child.digest);
    expect((await catalog.tag(here, tag))?.held).toEqual(index);
  });

  it("takes an index alone for want of anything else", async () => {
    const catalog = await make();
    const index = { ...newer, mediaType: ociIndex };
    await catalog.resolve(here, tag, index, 1000);
    await catalog.holdManifest(here, index, [manifest.digest]);
    expect((await catalog.tag(here, tag))?.held).toEqual(index);
  });

  it("remembers which alternate resolved a tag, until the upstream does", async () => {
    const catalog = await make();
    await catalog.resolve(here, tag, manifest, 1000, "mirror.gcr.io");
    expect((await catalog.tag(here, tag))?.alternate).toBe("mirror.gcr.io");
    await catalog.resolve(here, tag, manifest, 2000);
    expect((await catalog.tag(here, tag))?.alternate).toBeUndefined();
  });

  it("resolves a tag to a manifest that is held already", async () => {
    const catalog = await make();
    await catalog.holdManifest(here, manifest, []);
    await catalog.resolve(here, tag, manifest, 1000);
    expect((await catalog.tag(here, tag))?.held).toEqual(manifest);
  });

  it("has no held manifest for a tag once its bytes are forgotten", async () => {
    const catalog = await make();
    await catalog.holdManifest(here, manifest, []);
    await catalog.resolve(here, tag, manifest, 1000);
    await catalog.forget(manifest.digest);
    expect((await catalog.tag(here, tag))?.held).toBeUndefined();
  });

  it("forgets a tag, but not its manifest", async () => {
    const catalog = await make();
    await catalog.holdManifest(here, manifest, []);
    await catalog.resolve(here, tag, manifest, 1000);
    await catalog.forgetTag(here, tag);
    expect(await catalog.tag(here, tag)).toBeUndefined();
    expect(await catalog.manifest(here, manifest.digest)).toEqual(manifest);
  });

  it("forgets the tags that mean a manifest, in its repository alone", async () => {
    const catalog = await make();
    await catalog.resolve(here, tag, manifest, 1000);
    await catalog.resolve(there, tag, manifest, 1000);
    await catalog.forgetTagsOf(here, newer.digest);
    expect((await catalog.tag(here, tag))?.checkedAt).toBe(1000);
    await catalog.forgetTagsOf(here, manifest.digest);
    expect(await catalog.tag(here, tag)).toBeUndefined();
    expect((await catalog.tag(there, tag))?.checkedAt).toBe(1000);
  });

  it("forgets bytes for every repository at once", async () => {
    const catalog = await make();
    await catalog.holdManifest(here, manifest, []);
    await catalog.link(there, manifest.digest);
    await catalog.forget(manifest.digest);
    expect(await catalog.manifest(here, manifest.digest)).toBeUndefined();
    expect(await catalog.manifest(there, manifest.digest)).toBeUndefined();
    expect(await catalog.blobAnywhere(manifest.digest)).toBeUndefined();
  });

  it("knows which digests the upstream of a repository has named", async () => {
    const catalog = await make();
    const [index, child] = [{ ...manifest, mediaType: ociIndex }, newer.digest];
    await catalog.holdManifest(here, index, [child]);
    expect(await catalog.naming(here, child)).toEqual({ indexes: [index.digest], tagged: undefined });
    const unnamed = { indexes: [], tagged: undefined };
    expect(await catalog.naming(there, child)).toEqual(unnamed);
    // Of what an image names, none is a manifest.
    const layer = digestOf(Buffer.from("a layer"));
    await catalog.holdManifest(here, newer, [layer]);
    expect(await catalog.naming(here, layer)).toEqual(unnamed);
    expect(await catalog.naming(here, index.digest)).toEqual(unnamed);
    await catalog.resolve(here, tag, index, 1);
    expect(await catalog.naming(here, index.digest)).toEqual({ indexes: [], tagged: ociIndex });
    expect(await catalog.naming(there, index.digest)).toEqual(unnamed);
  });

  it("keeps the newest of each list", async () => {
    const catalog = await make();
    await catalog.keepListing(here, "tags", { body: "[]", checkedAt: 1 });
    await catalog.keepListing(here, "tags", { body: '["a"]', checkedAt: 2 });
    expect(await catalog.listing(here, "tags")).toEqual({ body: '["a"]', checkedAt: 2 });
    expect(await catalog.listing(here, manifest.digest)).toBeUndefined();
    expect(await catalog.listedAt(here, "tags")).toBe(2);
    expect(await catalog.listedAt(here, manifest.digest)).toBeUndefined();
  });

  it("takes any text as a value and never as SQL (S35)", async () => {
    const catalog = await make();
    const hostile = "x'); DROP TABLE blob; --";
    await catalog.keepListing(here, hostile, { body: hostile, checkedAt: 1 });
    expect((await catalog.listing(here, hostile))?.body).toBe(hostile);
    await catalog.holdBlob(here, blob, 7);
    expect(await catalog.blob(here, blob)).toBe(7);
  });
}
