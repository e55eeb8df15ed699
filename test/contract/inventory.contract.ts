/** What every implementation of Inventory must do, beside a Catalog over the same content. */
import { expect, it } from "vitest";
import { ociIndex, ociManifest } from "../../src/oci/descriptor.ts";
import { digestOf, type Digest } from "../../src/oci/digest.ts";
import { parseRepositoryName, parseTag, type Repository, type Tag } from "../../src/oci/reference.ts";
import type { Catalog, BlobRow, HeldImage, Inventory, Orphan } from "../../src/store/catalog.ts";

/** The two views of one store. */
export interface StoreParts {
  readonly catalog: Catalog;
  readonly inventory: Inventory;
}

function repository(upstream: string, text: string): Repository {
  const name = parseRepositoryName(text);
  if (!name) throw new Error(text);
  return { upstream, name };
}

const digest = (text: string): Digest => digestOf(Buffer.from(text));
const here = repository("docker.io", "library/nginx");
const there = repository("ghcr.io", "org/nginx");
const tag = parseTag("1") as Tag;
const layer = digest("layer");
const other = digest("other layer");
const manifest = { digest: digest("manifest"), mediaType: ociManifest, size: 10 };
const sibling = { digest: digest("sibling"), mediaType: ociManifest, size: 10 };
const index = { digest: digest("index"), mediaType: ociIndex, size: 20 };
const signature = { digest: digest("signature"), mediaType: ociManifest, size: 5 };

const names = (images: readonly HeldImage[]): Digest[] => images.map((image) => image.digest);

/** All images, page by page. */
async function all(next: (after?: HeldImage) => Promise<HeldImage[]>): Promise<HeldImage[]> {
  const found: HeldImage[] = [];
  for (let page = await next(); page.length > 0; page = await next(page.at(-1))) found.push(...page);
  return found;
}

/** All orphans, page by page. */
async function allOrphans(inventory: Inventory, before: number, ahead: number): Promise<Orphan[]> {
  const found: Orphan[] = [];
  for (;;) {
    const page = await inventory.orphans(before, ahead, found.at(-1), 2);
    if (page.length === 0) return found;
    found.push(...page);
  }
}

/** Discards these blobs, as far as they are orphans. */
async function discardAll(inventory: Inventory, digests: readonly Digest[]): Promise<BlobRow[]> {
  const found: BlobRow[] = [];
  for (let left = digests; left.length > 0;) {
    const { discarded, rest } = await inventory.discard(left);
    expect(rest.length).toBeLessThan(left.length);
    found.push(...discarded);
    left = rest;
  }
  return found;
}

async function dropAll({ inventory }: StoreParts, place: Repository, what: Digest): Promise<void> {
  while (!(await inventory.drop(place, what)));
}

/** Runs the contract; `make` gives an empty store each time, whose clock is `now`. */
export function inventoryContract(make: (now: () => number) => Promise<StoreParts>): void {
  let now = 0;
  const open = (): Promise<StoreParts> => {
    now = 1000;
    return make(() => now);
  };

  it("keeps the sums of what is held", async () => {
    const { catalog, inventory } = await open();
    expect(await inventory.totals()).toEqual({ bytes: 0, blobs: 0, manifests: 0 });
    await catalog.holdManifest(here, manifest, [layer]);
    await catalog.holdBlob(here, layer, 100);
    await catalog.holdBlob(there, layer, 100);
    await catalog.holdManifest(there, manifest, [layer]);
    expect(await inventory.totals()).toEqual({ bytes: 110, blobs: 2, manifests: 1 });
    await catalog.holdBlob(here, layer, 101);
    expect((await inventory.totals()).bytes).toBe(111);
    await catalog.forget(manifest.digest);
    expect(await inventory.totals()).toEqual({ bytes: 101, blobs: 1, manifests: 0 });
  });

  it("lists images by last use, with those that keep an image counted as used with it", async () => {
    const { catalog, inventory } = await open();
    await catalog.holdManifest(here, index, [manifest.digest]);
    await catalog.holdManifest(here, manifest, [layer]);
    now = 2000;
    await catalog.holdManifest(there, sibling, [layer]);
    await catalog.holdManifest(here, signature, [], manifest.digest);
    expect(await inventory.oldestUse()).toBe(1000);
    await inventory.use([{ repository: here, digest: manifest.digest, at: 5000, count: 2 }], 5000);
    const images = await all((after) => inventory.byUse(after, 10));
    expect(names(images)).toEqual([signature.digest, sibling.digest, ...names(images).slice(2)]);
    const used = new Map(images.map((image) => [image.digest, image]));
    expect(used.get(manifest.digest)?.uses).toBe(2);
    expect(used.get(index.digest)?.uses).toBe(0);
    expect(images.find((image) => image.digest === index.digest)).toMatchObject({
      ...index,
      repository: here,
      heldAt: 1000,
      usedAt: 5000,
    });
    const [first] = images;
    const next = names(await inventory.byUse(first, 2));
    expect([1, 2]).toContain(next.length);
    expect(next).toEqual(names(images).slice(1, 1 + next.length));
  });

  it("never makes an image older than it is", async () => {
    const { catalog, inventory } = await open();
    await catalog.holdManifest(here, manifest, []);
    await inventory.use([{ repository: here, digest: manifest.digest, at: 10, count: 1 }], 5000);
    expect(await inventory.oldestUse()).toBe(1000);
    expect(await inventory.lastUse(here, manifest.digest)).toBe(1000);
    expect(await inventory.lastUse(there, manifest.digest)).toBeUndefined();
  });

  it("believes no time in the future: the next use of an image brings it back, an orphan may go", async () => {
    const { catalog, inventory } = await open();
    now = 900_000;
    await catalog.holdManifest(here, manifest, []);
    await catalog.holdBlob(here, layer, 100);
    await inventory.use([{ repository: here, digest: manifest.digest, at: 800_000, count: 1 }], 2000);
    expect(await inventory.oldestUse()).toBe(2000);
    expect(await allOrphans(inventory, 1000, 900_000)).toEqual([]);
    expect(await allOrphans(inventory, 1000, 899_999)).toEqual([
      { digest: layer, size: 100, since: 900_000 },
    ]);
  });

  it("lists images by name, page by page, with their tags", async () => {
    const { catalog, inventory } = await open();
    await catalog.holdManifest(there, manifest, []);
    await catalog.holdManifest(here, sibling, []);
    await catalog.holdManifest(here, manifest, []);
    await catalog.resolve(here, tag, manifest, 1);
    const images = await all((after) => inventory.byName(after, 10));
    expect(images.map((image) => image.repository)).toEqual([here, here, there]);
    const [first] = images;
    expect(await all((after) => inventory.byName(after ?? first, 10))).toEqual(images.slice(1));
    expect(await inventory.tagsOf(here, manifest.digest)).toEqual([tag]);
    expect(await inventory.tagsOf(there, manifest.digest)).toEqual([]);
  });

  it("knows what belongs to an image, and what keeps it", async () => {
    const { catalog, inventory } = await open();
    await catalog.holdManifest(here, index, [manifest.digest, sibling.digest]);
    await catalog.holdManifest(here, manifest, [layer]);
    await catalog.holdManifest(here, signature, [], index.digest);
    await catalog.holdManifest(there, sibling, [layer]);
    expect(names(await inventory.parts(here, index.digest)).toSorted()).toEqual(
      [manifest.digest, signature.digest].toSorted(),
    );
    expect(await inventory.parents(here, manifest.digest)).toEqual([index.digest]);
    expect(await inventory.parents(here, signature.digest)).toEqual([index.digest]);
    expect(await inventory.parents(here, index.digest)).toEqual([]);
    expect(await inventory.parents(here, manifest.digest, new Set([index.digest]))).toEqual([]);
    expect(await inventory.parents(there, sibling.digest)).toEqual([]);
  });

  it("keeps a blob that any held manifest of any repository still names (R15)", async () => {
    const store = await open();
    const { catalog, inventory } = store;
    await catalog.holdManifest(here, manifest, [layer, other]);
    await catalog.holdManifest(there, sibling, [layer]);
    await catalog.holdBlob(here, layer, 100);
    await catalog.holdBlob(here, other, 50);
    await dropAll(store, here, manifest.digest);
    const orphans = await allOrphans(inventory, 0, Infinity);
    expect(orphans.map((blob) => blob.digest)).toEqual([manifest.digest, other].toSorted());
    const discarded = await discardAll(inventory, [layer, other, manifest.digest]);
    expect(discarded).toEqual([
      { digest: other, size: 50 },
      { digest: manifest.digest, size: 10 },
    ]);
    expect(await catalog.manifest(here, manifest.digest)).toBeUndefined();
    expect(await catalog.blob(here, other)).toBeUndefined();
    expect(await catalog.blobAnywhere(layer)).toBe(100);
    await dropAll(store, there, sibling.digest);
    expect(await discardAll(inventory, [sibling.digest, layer])).toHaveLength(2);
    expect(await inventory.totals()).toEqual({ bytes: 0, blobs: 0, manifests: 0 });
  });

  it("keeps a manifest that another repository holds", async () => {
    const store = await open();
    const { catalog, inventory } = store;
    await catalog.holdManifest(here, manifest, [layer]);
    await catalog.holdManifest(there, manifest, [layer]);
    expect(new Set(await inventory.holders(manifest.digest))).toEqual(new Set([here, there]));
    await dropAll(store, here, manifest.digest);
    expect(await catalog.manifest(here, manifest.digest)).toBeUndefined();
    expect(await catalog.manifest(there, manifest.digest)).toEqual(manifest);
    expect(await inventory.holders(manifest.digest)).toEqual([there]);
    expect(await allOrphans(inventory, now, Infinity)).toEqual([]);
  });

  it("drops the tags of an image with it, and only in its repository", async () => {
    const store = await open();
    const { catalog } = store;
    await catalog.holdManifest(here, manifest, []);
    await catalog.holdManifest(there, manifest, []);
    await catalog.resolve(here, tag, manifest, 1);
    await catalog.resolve(there, tag, manifest, 1);
    await dropAll(store, here, manifest.digest);
    expect(await catalog.tag(here, tag)).toBeUndefined();
    expect((await catalog.tag(there, tag))?.held).toEqual(manifest);
  });

  it("drops a manifest of thousands of layers in steps, and forgets none of them", async () => {
    const store = await open();
    const { catalog, inventory } = store;
    const layers = Array.from({ length: 1000 }, (_, number) => digest(`layer ${number}`));
    await catalog.holdManifest(here, manifest, layers);
    for (const one of layers) await catalog.holdBlob(here, one, 1);
    expect(await inventory.drop(here, manifest.digest)).toBe(false);
    expect(await catalog.manifest(here, manifest.digest)).toEqual(manifest);
    await dropAll(store, here, manifest.digest);
    expect(await discardAll(inventory, [manifest.digest, ...layers])).toHaveLength(1001);
  });

  it("knows orphans since when they came, and forgets them once they are named", async () => {
    const { catalog, inventory } = await open();
    await catalog.holdBlob(here, layer, 100);
    await catalog.holdManifest(here, manifest, [other]);
    await catalog.holdBlob(here, other, 50);
    expect(await allOrphans(inventory, 999, Infinity)).toEqual([]);
    expect(await allOrphans(inventory, 1000, Infinity)).toEqual([{ digest: layer, size: 100, since: 1000 }]);
    await catalog.holdManifest(here, sibling, [layer]);
    expect(await allOrphans(inventory, 1000, Infinity)).toEqual([]);
  });

  it("sums up orphans, what has become one and what has been discarded", async () => {
    const { catalog, inventory } = await open();
    expect(await inventory.orphanBytes()).toBe(0);
    await catalog.holdBlob(here, layer, 100);
    await catalog.holdBlob(there, other, 50);
    expect(await inventory.orphanBytes()).toBe(150);
    await catalog.holdManifest(here, manifest, [layer]);
    expect(await inventory.orphanBytes()).toBe(50);
    await dropAll({ catalog, inventory }, here, manifest.digest);
    expect(await inventory.orphanBytes()).toBe(100 + 50 + manifest.size);
    await discardAll(inventory, [layer, other, manifest.digest]);
    expect(await inventory.orphanBytes()).toBe(0);
  });

  it("sums up no more than some thousand orphans, and says of more that they are infinitely many", async () => {
    const { catalog, inventory } = await open();
    for (let number = 0; number < 1000; number += 1) await catalog.holdBlob(here, digest(`${number}`), 1);
    expect(await inventory.orphanBytes()).toBe(1000);
    for (let number = 1000; number < 10_000; number += 1)
      await catalog.holdBlob(here, digest(`${number}`), 1);
    expect(await inventory.orphanBytes()).toBe(Infinity);
  });

  it("does not take the layers of a lost manifest for orphans that may go at once (R17)", async () => {
    const { catalog, inventory } = await open();
    await catalog.holdManifest(here, manifest, [layer]);
    await catalog.holdBlob(here, layer, 100);
    await catalog.forget(manifest.digest);
    expect(await allOrphans(inventory, 0, Infinity)).toEqual([]);
    await catalog.holdManifest(here, manifest, [layer]);
    expect(await allOrphans(inventory, Date.now(), Infinity)).toEqual([]);
  });

  it("tells what would come free", async () => {
    const { catalog, inventory } = await open();
    await catalog.holdManifest(here, manifest, [layer, other]);
    await catalog.holdManifest(here, sibling, [layer]);
    await catalog.holdBlob(here, layer, 100);
    const contents = await inventory.contents(manifest.digest);
    expect(new Set(contents.map((blob) => blob.size))).toEqual(new Set([10, 100]));
    expect(await inventory.neededOnlyBy(layer, new Set([manifest.digest]))).toBe(false);
    expect(await inventory.neededOnlyBy(layer, new Set([manifest.digest, sibling.digest]))).toBe(true);
    expect(await inventory.neededOnlyBy(manifest.digest, new Set([sibling.digest]))).toBe(false);
    expect(await inventory.neededOnlyBy(manifest.digest, new Set([manifest.digest]))).toBe(true);
  });

  it("passes over uses of what it does not hold", async () => {
    const { inventory } = await open();
    await inventory.use([{ repository: here, digest: layer, at: 1, count: 1 }], 5000);
    expect(await inventory.oldestUse()).toBeUndefined();
    expect(await all((after) => inventory.byUse(after, 10))).toEqual([]);
  });
}
