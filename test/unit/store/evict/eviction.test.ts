/** Capacity, pins and rules: what is evicted, and that a dry run shows it. */
import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { digestOf, type Digest } from "../../../../src/oci/digest.ts";
import { DiskBlobs } from "../../../../src/store/disk/blobs.ts";
import type { Evicted } from "../../../../src/store/evict/evict.ts";
import { graceMs } from "../../../../src/store/evict/eviction.ts";
import {
  EvictionSetup,
  latest,
  layerBytes,
  openEviction,
  pattern,
  repository,
} from "../../../support/evictionSetup.ts";
import { bytesOf } from "../../../support/pieces.ts";

const letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];

describe("eviction", () => {
  it("evicts what was unused for longest, down to the low water mark", async () => {
    const setup = await openEviction();
    const digests = new Map<string, Digest>();
    for (const letter of letters) digests.set(letter, await setup.image(letter, [letter]));
    expect(await setup.bytes()).toBe(9900);
    setup.now += graceMs;
    // The oldest is asked for again, so the second oldest goes first.
    setup.eviction.uses.note(repository("a"), digests.get("a") as Digest);
    await setup.eviction.space.trim();
    const left = [];
    for (const [letter, digest] of digests) if (await setup.has(letter, digest)) left.push(letter);
    expect(left).toEqual(["a", "d", "e", "f", "g", "h", "i"]);
    expect(await setup.bytes()).toBe(7700);
    expect(await setup.onDisk()).toBe(7700);
    expect(setup.evicted).toEqual({ capacity: 2200 });
    expect(await setup.catalog.tag(repository("b"), latest)).toBeUndefined();
  });

  it("counts the bytes of the catalog: images that name a thousand others go though their bytes are few", async () => {
    const mib = 1024 * 1024;
    const capacity = 8 * mib;
    const setup = await openEviction({ capacity });
    for (let number = 0; number < 40; number += 1) {
      const named = Array.from({ length: 1000 }, (_, part) => digestOf(Buffer.from(`${number} ${part}`)));
      await setup.image(`index-${number}`, [], named);
    }
    expect(await setup.bytes()).toBeLessThan(10_000);
    expect(await setup.eviction.inventory.occupied()).toBeGreaterThan(capacity);
    setup.now += graceMs;
    await setup.eviction.space.trim();
    const left = await setup.eviction.inventory.occupied();
    expect(left).toBeGreaterThan(0.5 * capacity);
    expect(left).toBeLessThanOrEqual(0.8 * capacity);
  });

  it("keeps what images share until the last of them goes (R15)", async () => {
    const setup = await openEviction();
    const first = await setup.image("a", ["shared", "own"]);
    const second = await setup.image("b", ["shared"]);
    await setup.eviction.remove(pattern("docker.io/a"), () => {}, false);
    // docker.io/a is library/a, which is not held.
    expect(await setup.has("a", first)).toBe(true);
    await setup.eviction.remove(pattern("docker.io/*"), () => {}, true);
    expect(await setup.bytes()).toBe(2200);
    await setup.eviction.remove(pattern(first), () => {}, false);
    expect(await setup.has("a", first)).toBe(false);
    expect(await setup.has("b", second)).toBe(true);
    expect(await setup.onDisk()).toBe(1100);
    await setup.eviction.remove(pattern(second), () => {}, false);
    expect(await setup.onDisk()).toBe(0);
  });

  it("lets those who read a blob finish when it is evicted (R16)", async () => {
    const setup = await openEviction();
    await setup.image("a", ["a"]);
    const layer = digestOf(Buffer.alloc(layerBytes, "a"));
    const readers = await Promise.all([1, 2, 3, 4, 5].map(() => setup.blobs.open(layer, layerBytes)));
    setup.now += graceMs;
    await setup.eviction.remove(pattern("**"), () => {}, false);
    expect(await setup.onDisk()).toBe(0);
    for (const reader of readers) {
      expect(await bytesOf(reader)).toEqual(Buffer.alloc(layerBytes, "a"));
    }
  });

  it("evicts nothing that was asked for a moment ago, nor layers that its manifest waits for (R17)", async () => {
    const setup = await openEviction({ capacity: 3000 });
    const digest = await setup.image("a", ["a", "b", "c"]);
    await setup.eviction.space.trim();
    expect(await setup.bytes()).toBe(3100);
    setup.now += graceMs - 1;
    setup.eviction.uses.note(repository("a"), digest);
    setup.now += 20_000;
    await setup.eviction.space.trim();
    expect(await setup.has("a", digest)).toBe(true);
    setup.now += graceMs;
    await setup.eviction.space.trim();
    expect(await setup.bytes()).toBe(0);
  });

  it("evicts what the clock says will be used in a year, but not what it says will be in a minute", async () => {
    const setup = await openEviction();
    const start = setup.now;
    setup.now = start + 365 * 24 * 3_600_000;
    const ahead = await setup.image("ahead", ["a", "b", "c", "d", "e"]);
    setup.now = start + 60_000;
    const soon = await setup.image("soon", ["f", "g", "h", "i", "j"]);
    setup.now = start;
    await setup.evict(false);
    expect(await setup.has("ahead", ahead)).toBe(false);
    expect(await setup.has("soon", soon)).toBe(true);
  });

  it("lets an index go as a whole, with its platforms and what refers to it", async () => {
    const setup = await openEviction({ capacity: 4000 });
    const platform = await setup.image("a", ["x"]);
    const shared = await setup.image("a", ["y"]);
    await setup.image("a", [], [platform, shared]);
    const signature = await setup.image("a", ["z"], [], platform);
    const newer = await setup.image("a", ["newer"], [shared]);
    setup.now += graceMs;
    // Only the newer index is used, which keeps the platform that both name.
    setup.eviction.uses.note(repository("a"), newer);
    setup.now += graceMs;
    const plan = await setup.evict(true);
    expect(plan.map(({ bytes }) => bytes)).toEqual([2300]);
    await setup.eviction.space.trim();
    expect(await setup.has("a", platform)).toBe(false);
    expect(await setup.has("a", signature)).toBe(false);
    expect(await setup.has("a", shared)).toBe(true);
    expect(await setup.has("a", newer)).toBe(true);
    expect(await setup.onDisk()).toBe(2200);
  });

  it("drops blobs that no manifest names before any image, however new they are, and keeps them while there is space", async () => {
    const setup = await openEviction({ capacity: 3000 });
    await setup.blob("orphan");
    const digest = await setup.image("a", ["a"]);
    await setup.image("b", ["b"]);
    setup.now += 2 * graceMs;
    await setup.blob("new");
    await setup.eviction.space.trim();
    expect(setup.evicted).toEqual({ orphan: 2000 });
    expect(await setup.has("a", digest)).toBe(true);
    const roomy = await openEviction({ capacity: 3000 });
    await roomy.blob("new");
    await roomy.eviction.space.trim();
    expect(roomy.evicted).toEqual({});
  });

  it.each([
    ["an image", "docker.io/library/a:latest"],
    ["a glob", "docker.io/library/a*"],
    ["every repository of a host", "docker.io/**"],
  ])("never evicts what is pinned by %s", async (_what, text) => {
    const setup = await openEviction({ capacity: 1000, pins: [pattern(text)] });
    const pinned = await setup.image("library/a", ["a"]);
    setup.now += graceMs;
    await setup.eviction.space.trim();
    await setup.eviction.remove(pattern("**"), () => {}, false);
    expect(await setup.has("library/a", pinned)).toBe(true);
  });

  it("keeps a platform that is pinned by digest when its index goes, and lets it go when it is unpinned", async () => {
    const setup = await openEviction({ capacity: 1000 });
    const platform = await setup.image("library/a", ["a"]);
    const index = await setup.image("library/a", [], [platform]);
    await setup.eviction.pins.add(pattern(platform));
    setup.now += graceMs;
    await setup.eviction.space.trim();
    expect(await setup.has("library/a", index)).toBe(false);
    expect(await setup.has("library/a", platform)).toBe(true);
    expect(await setup.eviction.pins.remove(pattern(platform))).toBe(true);
    setup.now += graceMs;
    await setup.eviction.space.trim();
    expect(await setup.bytes()).toBe(0);
  });

  it("lets images go by the first rule that matches them", async () => {
    const day = 24 * 60 * 60_000;
    const setup = await openEviction({
      capacity: 1e9,
      retention: [
        { match: pattern("docker.io/team/keep"), maxAge: 100 * day },
        { match: pattern("docker.io/team/*"), unusedFor: 2 * day },
        { match: pattern("docker.io/nightly/*"), maxAge: day },
      ],
    });
    const kept = await setup.image("team/keep", ["a"]);
    const used = await setup.image("team/used", ["b"]);
    await setup.image("team/unused", ["c"]);
    await setup.image("nightly/old", ["d"]);
    setup.now += 3 * day;
    setup.eviction.uses.note(repository("team/used"), used);
    const plan = await setup.evict(true);
    expect(plan.map(({ image, reason, bytes }) => [image?.repository.name, reason, bytes])).toEqual([
      ["nightly/old", "age", 1100],
      ["team/unused", "unused", 1100],
    ]);
    expect(await setup.bytes()).toBe(4400);
    expect(await setup.evict(false)).toEqual(plan);
    expect(setup.evicted).toEqual({ age: 1100, unused: 1100 });
    expect(await setup.has("team/keep", kept)).toBe(true);
    expect(await setup.has("team/used", used)).toBe(true);
  });

  it("shows in a dry run for capacity what then happens", async () => {
    const setup = await openEviction();
    for (const letter of letters) await setup.image(letter, [letter, "shared by all"].slice(0, 1));
    setup.now += graceMs;
    const plan = await setup.evict(true);
    expect(plan).toHaveLength(2);
    expect(await setup.evict(false)).toEqual(plan);
    expect(await setup.bytes()).toBe(7700);
  });

  it("reports in a run what its dry run has shown, to the byte, whatever images share", async () => {
    const name = fc.constantFrom("a", "b", "c");
    const image = fc.record({
      name,
      layers: fc.uniqueArray(fc.constantFrom("x", "y", "z", "own"), { maxLength: 3 }),
      copiedTo: fc.option(name),
      isIndex: fc.boolean(),
      isReferrer: fc.boolean(),
    });
    const cases = fc.record({
      images: fc.array(image, { minLength: 1, maxLength: 8 }),
      orphans: fc.integer({ min: 0, max: 2 }),
      pinned: fc.option(name),
      capacity: fc.integer({ min: 100, max: 6000 }),
      isOld: fc.boolean(),
      removed: fc.option(fc.constantFrom("docker.io/a/**", "docker.io/**:latest", "**")),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ images, orphans, pinned, capacity, isOld, removed }) => {
        const setup = await openEviction({
          capacity,
          pins: pinned === null ? [] : [pattern(`docker.io/${pinned}/**`)],
          retention: isOld ? [{ match: pattern("docker.io/a/**"), maxAge: 1 }] : [],
        });
        for (let orphan = 0; orphan < orphans; orphan++) await setup.blob(`orphan ${orphan}`);
        let last: Digest | undefined;
        for (const { name, layers, copiedTo, isIndex, isReferrer } of images) {
          const parts = isIndex && last ? [last] : [];
          const digest = await setup.image(`${name}/i`, layers, parts, isReferrer ? last : undefined);
          if (copiedTo !== null) await setup.copy(digest, `${name}/i`, `${copiedTo}/i`);
          last = digest;
        }
        setup.now += graceMs;
        const runs = removed === null ? [] : [(dryRun: boolean) => setup.remove(removed, dryRun)];
        for (const run of [...runs, (dryRun: boolean) => setup.evict(dryRun)]) {
          const before = await setup.bytes();
          const shown = await run(true);
          expect(await setup.bytes()).toBe(before);
          expect(await run(false)).toEqual(shown);
          expect(await setup.bytes()).toBe(before - shown.reduce((sum, { bytes }) => sum + bytes, 0));
        }
        expect(await setup.onDisk()).toBe(await setup.bytes());
      }),
      { numRuns: 40 },
    );
  });

  it("keeps what is used, pinned or needed again once it was planned, and reports only what it evicts", async () => {
    const setup = await openEviction({ capacity: 1000 });
    const due = await setup.image("due", ["due"]);
    const used = await setup.image("used", ["used"]);
    const pinned = await setup.image("pinned", ["pinned"]);
    const dropped = await setup.image("dropped", ["dropped"]);
    const platform = await setup.image("index", ["platform"]);
    const index = await setup.image("index", [], [platform]);
    setup.now += graceMs;
    setup.whenPlanned = async (digest) => {
      if (digest === used) setup.eviction.uses.note(repository("used"), used);
      if (digest === pinned) await setup.eviction.pins.add(pattern(pinned));
      if (digest === dropped) await setup.catalog.forget(dropped);
      if (digest === index) await setup.image("index", ["new"], [platform]);
    };
    const evicted = (await setup.evict(false)).map(({ image, bytes }) => [image?.repository.name, bytes]);
    expect(evicted).toEqual([
      ["due", 1100],
      ["index", 100],
    ]);
    expect(await setup.has("due", due)).toBe(false);
    expect(await setup.has("used", used)).toBe(true);
    expect(await setup.has("pinned", pinned)).toBe(true);
    expect(await setup.has("index", index)).toBe(false);
    expect(await setup.has("index", platform)).toBe(true);
  });

  it("evicts images that are parts of one another and of nothing else", async () => {
    const setup = await openEviction({ capacity: 100 });
    const inner = await setup.image("a", ["x"]);
    // An index that lists what it refers to: each of the two keeps the other.
    await setup.image("a", [], [inner], inner);
    setup.now += graceMs;
    await setup.eviction.space.trim();
    expect(await setup.bytes()).toBe(0);
  });
});

it("stops the pass that runs when it is closed, and waits for it", async () => {
  const setup = await openEviction();
  for (const letter of letters) await setup.image(letter, [letter]);
  setup.now += graceMs;
  const evicted: Evicted[] = [];
  let over = false;
  const all = pattern("docker.io/**");
  const removing = setup.eviction
    .remove(all, (one) => evicted.push(one), false)
    .catch((error: unknown) => error)
    .finally(() => (over = true));
  while (evicted.length === 0) await new Promise(setImmediate);
  await setup.eviction.close();
  await Promise.resolve();
  expect(over).toBe(true);
  expect(await removing).toMatchObject({ name: "AbortError" });
  expect(evicted).toHaveLength(1);
  await expect(setup.evict(false)).rejects.toThrow(/abort/);
});

it("leaves no file behind in the store's folders", async () => {
  const root = await mkdtemp(join(tmpdir(), "hubcap-eviction-"));
  const setup = new EvictionSetup(await DiskBlobs.at(root), {});
  await setup.image("a", ["a", "b"]);
  await setup.eviction.remove(pattern("**"), () => {}, false);
  const files = await readdir(join(root, "blobs"), { recursive: true, withFileTypes: true });
  expect(files.filter((entry) => entry.isFile())).toEqual([]);
});
