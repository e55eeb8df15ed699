/** Capacity, pins and rules, on the real store in a temporary folder with a clock that the tests move. */
import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ociManifest } from "../../../../src/oci/descriptor.ts";
import { digestOf, type Digest } from "../../../../src/oci/digest.ts";
import { parsePattern, type Pattern } from "../../../../src/oci/pattern.ts";
import { parseRepositoryName, parseTag, type Repository, type Tag } from "../../../../src/oci/reference.ts";
import { DiskBlobs } from "../../../../src/store/disk/blobs.ts";
import type { EvictionReason } from "../../../../src/store/evict/candidates.ts";
import type { Catalog } from "../../../../src/store/catalog.ts";
import type { Evicted } from "../../../../src/store/evict/evict.ts";
import { Pins } from "../../../../src/store/evict/pins.ts";
import { graceMs, Eviction, type EvictionOptions } from "../../../../src/store/evict/eviction.ts";
import { memoryStore } from "../../../support/memoryStore.ts";
import { bytesOf } from "../../../support/pieces.ts";

function repository(text: string): Repository {
  const name = parseRepositoryName(text);
  if (!name) throw new Error(text);
  return { upstream: "docker.io", name };
}

function pattern(text: string): Pattern {
  const read = parsePattern(text);
  if (!read) throw new Error(text);
  return read;
}

const latest = parseTag("latest") as Tag;
const layerBytes = 1000;
const manifestBytes = 100;

type ShelfOptions = { readonly capacity?: number; readonly pins?: readonly Pattern[] } & Partial<
  Pick<EvictionOptions, "retention">
>;

/** A store of which each image is a manifest of 100 bytes and layers of 1000. */
class Shelf {
  now = 1_000_000_000;
  readonly blobs: DiskBlobs;
  readonly catalog: Catalog;
  readonly keeper: Eviction;
  readonly evicted: Partial<Record<EvictionReason, number>> = {};
  leftovers = 0;
  whenEvicted = (): void => {};

  constructor(blobs: DiskBlobs, { capacity = 10_000, pins = [], ...rest }: ShelfOptions) {
    const now = (): number => this.now;
    const { catalog, inventory, expiry, pins: table } = memoryStore(now);
    this.blobs = blobs;
    this.catalog = catalog;
    this.keeper = new Eviction({
      inventory,
      blobs,
      hearsay: expiry,
      listAgeMs: 24 * 60 * 60_000,
      marks: { capacity, high: capacity * 0.9, low: capacity * 0.8 },
      pins: new Pins(table, pins, now),
      retention: [],
      rest: async () => {},
      leftovers: () => this.leftovers,
      evicted: (reason, bytes) => {
        this.evicted[reason] = (this.evicted[reason] ?? 0) + bytes;
        this.whenEvicted();
      },
      failed: (error) => {
        throw error;
      },
      now,
      ...rest,
    });
  }

  async blob(name: string): Promise<Digest> {
    const bytes = Buffer.alloc(layerBytes, name);
    const digest = digestOf(bytes);
    await this.blobs.put(digest, bytes);
    await this.catalog.holdBlob(repository("library/any"), digest, layerBytes);
    return digest;
  }

  /** Holds `name:latest`, made of layers with these names. A second apart from the one before. */
  async image(name: string, layers: readonly string[], parts: readonly Digest[] = [], subject?: Digest) {
    this.now += 1000;
    const bytes = Buffer.alloc(
      manifestBytes,
      digestOf(Buffer.from(JSON.stringify([name, layers, parts, subject]))),
    );
    const digest = digestOf(bytes);
    await this.blobs.put(digest, bytes);
    const held = await Promise.all(layers.map((layer) => this.blob(layer)));
    const manifest = { digest, mediaType: ociManifest, size: manifestBytes };
    await this.catalog.holdManifest(repository(name), manifest, [...held, ...parts], subject);
    await this.catalog.resolve(repository(name), latest, manifest, this.now);
    return digest;
  }

  async has(name: string, digest: Digest): Promise<boolean> {
    const held = await this.catalog.manifest(repository(name), digest);
    return held !== undefined && (await this.blobs.read(digest, manifestBytes)) !== undefined;
  }

  async bytes(): Promise<number> {
    return (await this.keeper.totals()).bytes;
  }

  /** Bytes that really lie on the disk. */
  async onDisk(): Promise<number> {
    return (await Array.fromAsync(this.blobs.list())).reduce((sum, { size }) => sum + size, 0);
  }

  async evict(rehearse: boolean): Promise<Evicted[]> {
    const gone: Evicted[] = [];
    await this.keeper.evict((one) => gone.push(one), rehearse);
    return gone;
  }
}

async function open(options: ShelfOptions = {}): Promise<Shelf> {
  return new Shelf(await DiskBlobs.at(await mkdtemp(join(tmpdir(), "hubcap-keeper-"))), options);
}

const letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];

describe("the keeper", () => {
  it("evicts what was unused for longest, down to the low water mark", async () => {
    const shelf = await open();
    const digests = new Map<string, Digest>();
    for (const letter of letters) digests.set(letter, await shelf.image(letter, [letter]));
    expect(await shelf.bytes()).toBe(9900);
    shelf.now += graceMs;
    // The oldest is asked for again, so the second oldest goes first.
    shelf.keeper.uses.note(repository("a"), digests.get("a") as Digest);
    await shelf.keeper.room.ebb();
    const left = [];
    for (const [letter, digest] of digests) if (await shelf.has(letter, digest)) left.push(letter);
    expect(left).toEqual(["a", "d", "e", "f", "g", "h", "i"]);
    expect(await shelf.bytes()).toBe(7700);
    expect(await shelf.onDisk()).toBe(7700);
    expect(shelf.evicted).toEqual({ capacity: 2200 });
    expect(await shelf.catalog.tag(repository("b"), latest)).toBeUndefined();
  });

  it("keeps what images share until the last of them goes (R15)", async () => {
    const shelf = await open();
    const first = await shelf.image("a", ["shared", "own"]);
    const second = await shelf.image("b", ["shared"]);
    await shelf.keeper.remove(pattern("docker.io/a"), () => {}, false);
    // docker.io/a is library/a, which is not held.
    expect(await shelf.has("a", first)).toBe(true);
    await shelf.keeper.remove(pattern("docker.io/*"), () => {}, true);
    expect(await shelf.bytes()).toBe(2200);
    await shelf.keeper.remove(pattern(first), () => {}, false);
    expect(await shelf.has("a", first)).toBe(false);
    expect(await shelf.has("b", second)).toBe(true);
    expect(await shelf.onDisk()).toBe(1100);
    await shelf.keeper.remove(pattern(second), () => {}, false);
    expect(await shelf.onDisk()).toBe(0);
  });

  it("lets those who read a blob finish when it is evicted (R16)", async () => {
    const shelf = await open();
    await shelf.image("a", ["a"]);
    const layer = digestOf(Buffer.alloc(layerBytes, "a"));
    const readers = await Promise.all([1, 2, 3, 4, 5].map(() => shelf.blobs.open(layer, layerBytes)));
    shelf.now += graceMs;
    await shelf.keeper.remove(pattern("**"), () => {}, false);
    expect(await shelf.onDisk()).toBe(0);
    for (const reader of readers) {
      expect(await bytesOf(reader)).toEqual(Buffer.alloc(layerBytes, "a"));
    }
  });

  it("evicts nothing that was asked for a moment ago, nor layers that its manifest waits for (R17)", async () => {
    const shelf = await open({ capacity: 3000 });
    const digest = await shelf.image("a", ["a", "b", "c"]);
    await shelf.keeper.room.ebb();
    expect(await shelf.bytes()).toBe(3100);
    shelf.now += graceMs - 1;
    shelf.keeper.uses.note(repository("a"), digest);
    shelf.now += 20_000;
    await shelf.keeper.room.ebb();
    expect(await shelf.has("a", digest)).toBe(true);
    shelf.now += graceMs;
    await shelf.keeper.room.ebb();
    expect(await shelf.bytes()).toBe(0);
  });

  it("evicts what the clock says will be used in a year, but not what it says will be in a minute", async () => {
    const shelf = await open();
    const start = shelf.now;
    shelf.now = start + 365 * 24 * 3_600_000;
    const ahead = await shelf.image("ahead", ["a", "b", "c", "d", "e"]);
    shelf.now = start + 60_000;
    const soon = await shelf.image("soon", ["f", "g", "h", "i", "j"]);
    shelf.now = start;
    await shelf.evict(false);
    expect(await shelf.has("ahead", ahead)).toBe(false);
    expect(await shelf.has("soon", soon)).toBe(true);
  });

  it("lets an index go as a whole, with its platforms and what refers to it", async () => {
    const shelf = await open({ capacity: 4000 });
    const platform = await shelf.image("a", ["x"]);
    const shared = await shelf.image("a", ["y"]);
    await shelf.image("a", [], [platform, shared]);
    const signature = await shelf.image("a", ["z"], [], platform);
    const newer = await shelf.image("a", ["newer"], [shared]);
    shelf.now += graceMs;
    // Only the newer index is used, which keeps the platform that both name.
    shelf.keeper.uses.note(repository("a"), newer);
    shelf.now += graceMs;
    const plan = await shelf.evict(true);
    expect(plan.map(({ bytes }) => bytes)).toEqual([2300]);
    await shelf.keeper.room.ebb();
    expect(await shelf.has("a", platform)).toBe(false);
    expect(await shelf.has("a", signature)).toBe(false);
    expect(await shelf.has("a", shared)).toBe(true);
    expect(await shelf.has("a", newer)).toBe(true);
    expect(await shelf.onDisk()).toBe(2200);
  });

  it("drops blobs that no manifest names first, but not before their grace is over", async () => {
    const shelf = await open({ capacity: 3000 });
    await shelf.blob("orphan");
    const digest = await shelf.image("a", ["a"]);
    await shelf.image("b", ["b"]);
    await shelf.keeper.room.ebb();
    expect(await shelf.bytes()).toBe(3200);
    shelf.now += graceMs - 1500;
    await shelf.keeper.room.ebb();
    expect(shelf.evicted).toEqual({ orphan: 1000 });
    expect(await shelf.has("a", digest)).toBe(true);
  });

  it.each([
    ["an image", "docker.io/library/a:latest"],
    ["a glob", "docker.io/library/a*"],
    ["every repository of a host", "docker.io/**"],
  ])("never evicts what is pinned by %s", async (_what, text) => {
    const shelf = await open({ capacity: 1000, pins: [pattern(text)] });
    const pinned = await shelf.image("library/a", ["a"]);
    shelf.now += graceMs;
    await shelf.keeper.room.ebb();
    await shelf.keeper.remove(pattern("**"), () => {}, false);
    expect(await shelf.has("library/a", pinned)).toBe(true);
  });

  it("keeps a platform that is pinned by digest when its index goes, and lets it go when it is unpinned", async () => {
    const shelf = await open({ capacity: 1000 });
    const platform = await shelf.image("library/a", ["a"]);
    const index = await shelf.image("library/a", [], [platform]);
    await shelf.keeper.pins.add(pattern(platform));
    shelf.now += graceMs;
    await shelf.keeper.room.ebb();
    expect(await shelf.has("library/a", index)).toBe(false);
    expect(await shelf.has("library/a", platform)).toBe(true);
    expect(await shelf.keeper.pins.remove(pattern(platform))).toBe(true);
    shelf.now += graceMs;
    await shelf.keeper.room.ebb();
    expect(await shelf.bytes()).toBe(0);
  });

  it("lets images go by the first rule that matches them", async () => {
    const day = 24 * 60 * 60_000;
    const shelf = await open({
      capacity: 1e9,
      retention: [
        { match: pattern("docker.io/team/keep"), maxAge: 100 * day },
        { match: pattern("docker.io/team/*"), unusedFor: 2 * day },
        { match: pattern("docker.io/nightly/*"), maxAge: day },
      ],
    });
    const kept = await shelf.image("team/keep", ["a"]);
    const used = await shelf.image("team/used", ["b"]);
    await shelf.image("team/unused", ["c"]);
    await shelf.image("nightly/old", ["d"]);
    shelf.now += 3 * day;
    shelf.keeper.uses.note(repository("team/used"), used);
    const plan = await shelf.evict(true);
    expect(plan.map(({ image, reason, bytes }) => [image.repository.name, reason, bytes])).toEqual([
      ["nightly/old", "age", 1100],
      ["team/unused", "unused", 1100],
    ]);
    expect(await shelf.bytes()).toBe(4400);
    expect(await shelf.evict(false)).toEqual(plan);
    expect(shelf.evicted).toEqual({ age: 1100, unused: 1100 });
    expect(await shelf.has("team/keep", kept)).toBe(true);
    expect(await shelf.has("team/used", used)).toBe(true);
  });

  it("rehearses an eviction for capacity as it would happen", async () => {
    const shelf = await open();
    for (const letter of letters) await shelf.image(letter, [letter, "shared by all"].slice(0, 1));
    shelf.now += graceMs;
    const plan = await shelf.evict(true);
    expect(plan).toHaveLength(2);
    expect(await shelf.evict(false)).toEqual(plan);
    expect(await shelf.bytes()).toBe(7700);
  });

  it("evicts images that are parts of one another and of nothing else", async () => {
    const shelf = await open({ capacity: 100 });
    const inner = await shelf.image("a", ["x"]);
    // An index that lists what it refers to: each of the two keeps the other.
    await shelf.image("a", [], [inner], inner);
    shelf.now += graceMs;
    await shelf.keeper.room.ebb();
    expect(await shelf.bytes()).toBe(0);
  });
});

describe("room", () => {
  it("is made before a fill is promised it", async () => {
    const shelf = await open({ capacity: 3300 });
    for (const letter of ["a", "b", "c"]) await shelf.image(letter, [letter]);
    shelf.now += graceMs;
    const reservation = await shelf.keeper.room.reserve(1500);
    expect(reservation).toBeDefined();
    expect(await shelf.bytes()).toBeLessThanOrEqual(3300 - 1500);
    // What is promised to one is not promised to another.
    expect(await shelf.keeper.room.reserve(3000)).toBeUndefined();
    reservation?.release();
    reservation?.release();
    expect(await shelf.keeper.room.reserve(3300)).toBeDefined();
    expect(await shelf.bytes()).toBe(0);
  });

  it("is refused when nothing may go, and to what is larger than all of it", async () => {
    const shelf = await open({ capacity: 3000 });
    await shelf.image("a", ["a", "b"]);
    expect(await shelf.keeper.room.reserve(3001)).toBeUndefined();
    expect(await shelf.keeper.room.reserve(1000)).toBeUndefined();
    expect(await shelf.bytes()).toBe(2100);
    expect(await shelf.keeper.room.reserve(900)).toBeDefined();
  });

  it("is never promised twice to those who ask at the same moment", async () => {
    const shelf = await open({ capacity: 3000 });
    const all = await Promise.all([1, 2, 3, 4].map(() => shelf.keeper.room.reserve(1000)));
    expect(all.filter((one) => one !== undefined)).toHaveLength(3);
  });
});

/** A shelf without room, and what happens on it, in its order. */
async function full(images: number) {
  const order: string[] = [];
  const shelf = await open({ capacity: images * 1100 });
  for (let image = 0; image < images; image++) await shelf.image(`team/${image}`, [`layer ${image}`]);
  shelf.now += graceMs;
  const reserve = (name: string, bytes: number, kept?: number) =>
    shelf.keeper.room.reserve(bytes, kept).then((reservation) => {
      order.push(reservation ? name : `${name} refused`);
      return reservation;
    });
  shelf.whenEvicted = () => void order.push("evicted");
  return { shelf, order, reserve };
}

describe("who waits for room", () => {
  it("goes on as soon as there is enough for it, and eviction goes on to the low water mark", async () => {
    const { shelf, order, reserve } = await full(20);
    await reserve("small", 1000);
    expect(order).toEqual(["evicted", "small"]);
    await shelf.keeper.room.ebb();
    expect(await shelf.bytes()).toBeLessThanOrEqual(20 * 1100 * 0.8 - 1000);
  });

  it("is served in the order of coming, and none passes a large one by", async () => {
    const { order, reserve } = await full(10);
    const large = reserve("large", 3000);
    const small = reserve("small", 100);
    await Promise.all([large, small]);
    expect(order.filter((what) => what !== "evicted")).toEqual(["large", "small"]);
  });

  it("is served by what another gives back", async () => {
    const { shelf, order, reserve } = await full(2);
    const first = await reserve("first", 2200);
    expect(await shelf.bytes()).toBe(0);
    const second = reserve("second", 2000);
    first?.release();
    await second;
    expect(order.at(-1)).toBe("second");
  });

  it("is counted beside leftovers, but not twice what its own has brought", async () => {
    const { shelf, reserve } = await full(2);
    shelf.leftovers = 1500;
    expect(await reserve("other", 800)).toBeUndefined();
    expect(await shelf.bytes()).toBe(0);
    const own = await reserve("own", 2200, 1500);
    expect(own).toBeDefined();
    // The fill has gone on with it.
    shelf.leftovers = 0;
    expect(await reserve("more", 1)).toBeUndefined();
    own?.release();
    expect(await reserve("other", 2200)).toBeDefined();
  });
});

describe("use counts", () => {
  it("are written on closing, so that a restart remembers them", async () => {
    const shelf = await open();
    const digest = await shelf.image("a", ["a"]);
    shelf.now += 5000;
    for (let hit = 0; hit < 1000; hit++) shelf.keeper.uses.note(repository("a"), digest);
    const [before] = await shelf.keeper.inventory.byUse(undefined, 1);
    expect(before?.uses).toBe(0);
    await shelf.keeper.close();
    const [after] = await shelf.keeper.inventory.byUse(undefined, 1);
    expect([after?.uses, after?.usedAt]).toEqual([1000, shelf.now]);
  });
});

it("stops the pass that runs when it is closed, and waits for it", async () => {
  const shelf = await open();
  for (const letter of letters) await shelf.image(letter, [letter]);
  shelf.now += graceMs;
  const gone: Evicted[] = [];
  let over = false;
  const all = pattern("docker.io/**");
  const removing = shelf.keeper
    .remove(all, (one) => gone.push(one), false)
    .catch((error: unknown) => error)
    .finally(() => (over = true));
  while (gone.length === 0) await new Promise(setImmediate);
  await shelf.keeper.close();
  await Promise.resolve();
  expect(over).toBe(true);
  expect(await removing).toMatchObject({ name: "AbortError" });
  expect(gone).toHaveLength(1);
  await expect(shelf.evict(false)).rejects.toThrow(/abort/);
});

it("leaves no file behind in the store's folders", async () => {
  const root = await mkdtemp(join(tmpdir(), "hubcap-keeper-"));
  const shelf = new Shelf(await DiskBlobs.at(root), {});
  await shelf.image("a", ["a", "b"]);
  await shelf.keeper.remove(pattern("**"), () => {}, false);
  const files = await readdir(join(root, "blobs"), { recursive: true, withFileTypes: true });
  expect(files.filter((entry) => entry.isFile())).toEqual([]);
});
