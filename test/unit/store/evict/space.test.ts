/** Space for fills, and the uses that decide what is evicted for it. */
import { describe, expect, it } from "vitest";
import { digestOf } from "../../../../src/oci/digest.ts";
import { graceMs } from "../../../../src/store/evict/eviction.ts";
import { openEviction, pattern, repository } from "../../../support/evictionSetup.ts";

const mib = 1024 * 1024;

describe("space", () => {
  it("is made before a fill is promised it", async () => {
    const setup = await openEviction({ capacity: 3300 });
    for (const letter of ["a", "b", "c"]) await setup.image(letter, [letter]);
    setup.now += graceMs;
    const reservation = await setup.eviction.space.reserve(1500);
    expect(reservation).toBeDefined();
    expect(await setup.bytes()).toBeLessThanOrEqual(3300 - 1500);
    // What is promised to one is not promised to another.
    expect(await setup.eviction.space.reserve(3000)).toBeUndefined();
    reservation?.release();
    reservation?.release();
    expect(await setup.eviction.space.reserve(3300)).toBeDefined();
    expect(await setup.bytes()).toBe(0);
  });

  it("is refused when nothing may go, and to what is larger than all of it", async () => {
    const setup = await openEviction({ capacity: 3000 });
    await setup.image("a", ["a", "b"]);
    expect(await setup.eviction.space.reserve(3001)).toBeUndefined();
    expect(await setup.eviction.space.reserve(1000)).toBeUndefined();
    expect(await setup.bytes()).toBe(2100);
    expect(await setup.eviction.space.reserve(900)).toBeDefined();
  });

  it("is never promised twice to those who ask at the same moment", async () => {
    const setup = await openEviction({ capacity: 3000 });
    const all = await Promise.all([1, 2, 3, 4].map(() => setup.eviction.space.reserve(1000)));
    expect(all.filter((one) => one !== undefined)).toHaveLength(3);
  });
});

const named = (address: string) => ({ isNamed: true, address });
const unnamed = (address: string) => ({ isNamed: false, address });

/** A store of 500 MiB with three images of 100 MiB, which may all go. */
async function threeImages() {
  const setup = await openEviction({ capacity: 500 * mib });
  for (const letter of ["team/a", "team/b", "team/c"]) {
    const layer = digestOf(Buffer.from(letter));
    await setup.catalog.holdBlob(repository("library/any"), layer, 100 * mib);
    await setup.image(letter, [], [layer]);
  }
  setup.now += graceMs;
  const held = async (): Promise<number> => Math.floor((await setup.bytes()) / mib / 100);
  return { setup, held, space: setup.eviction.space };
}

describe("space for a large blob", () => {
  it("is made as the blob comes, and for its size nothing is evicted", async () => {
    const { held, space, setup } = await threeImages();
    const blob = await space.reserve(490 * mib);
    expect(blob).toBeDefined();
    await space.trim();
    expect(await held()).toBe(3);
    expect(await blob?.make(140 * mib)).toBe(true);
    expect(await held()).toBe(2);
    for (let come = 140; come <= 490; come += 10) {
      expect(await blob?.make(come * mib)).toBe(true);
      expect((await setup.bytes()) + come * mib).toBeLessThanOrEqual(500 * mib);
    }
    expect(await held()).toBe(0);
  });

  it("is promised to no other meanwhile, and free for others when it does not come", async () => {
    const { held, space } = await threeImages();
    const blob = await space.reserve(490 * mib);
    expect(await space.reserve(20 * mib)).toBeUndefined();
    expect(await space.headroom()).toBe(0);
    const small = await space.reserve(10 * mib);
    expect(small).toBeDefined();
    expect(await small?.make(10 * mib)).toBe(true);
    blob?.release();
    expect(await held()).toBe(3);
    expect(await space.reserve(80 * mib)).toBeDefined();
    expect(await held()).toBe(3);
  });

  it("is refused at once when what would have to go may not, and nothing goes", async () => {
    const { held, space, setup } = await threeImages();
    await setup.eviction.pins.add(pattern("docker.io/team/b"));
    expect(await space.reserve(410 * mib)).toBeUndefined();
    // Less may have enough.
    const blob = await space.reserve(390 * mib);
    expect(await held()).toBe(3);
    expect(await blob?.make(390 * mib)).toBe(true);
    expect(await held()).toBe(1);
  });

  it("is refused to one without taking it from another who asks at the same moment", async () => {
    const { held, space, setup } = await threeImages();
    await setup.eviction.pins.add(pattern("docker.io/team/*"));
    const [large, small] = await Promise.all([space.reserve(300 * mib), space.reserve(150 * mib)]);
    expect(large).toBeUndefined();
    expect(small).toBeDefined();
    expect(await held()).toBe(3);
  });

  it("is not made any more when what was to go for it has been used or pinned meanwhile", async () => {
    const { held, space, setup } = await threeImages();
    const blob = await space.reserve(490 * mib);
    await setup.eviction.pins.add(pattern("docker.io/team/*"));
    expect(await blob?.make(130 * mib)).toBe(true);
    expect(await blob?.make(200 * mib)).toBe(false);
    expect(await held()).toBe(3);
  });
});

describe("space for one address", () => {
  it("is a half of the capacity in running fills, whatever their number, and others have the rest", async () => {
    const { eviction } = await openEviction({ capacity: 10_000 });
    const { space } = eviction;
    const first = await space.reserve(3000, 0, named("10.0.0.1"));
    expect(await space.reserve(2000, 0, named("10.0.0.1"))).toBeTypeOf("object");
    expect(await space.reserve(1, 0, named("10.0.0.1"))).toBe("client");
    expect(await space.reserve(5000, 0, named("10.0.0.2"))).toBeTypeOf("object");
    // Neither those nor Hubcap's own are counted for it.
    if (typeof first === "object") first.release();
    expect(await space.reserve(3000, 0, named("10.0.0.1"))).toBeTypeOf("object");
    expect(await space.reserve(1, 0, named("10.0.0.1"))).toBe("client");
  });

  it("lets one fill in that is larger than that, and none beside it", async () => {
    const { eviction } = await openEviction({ capacity: 10_000 });
    const large = await eviction.space.reserve(9000, 0, named("10.0.0.1"));
    expect(large).toBeTypeOf("object");
    expect(await eviction.space.reserve(1, 0, named("10.0.0.1"))).toBe("client");
    expect(await eviction.space.reserve(1000)).toBeDefined();
    if (typeof large === "object") large.release();
    expect(await eviction.space.reserve(4000, 0, named("10.0.0.1"))).toBeTypeOf("object");
  });

  it("is a twentieth of the capacity for what no manifest names, of all addresses together", async () => {
    const setup = await openEviction({ capacity: 40_000 });
    await setup.blob("orphan");
    const { space } = setup.eviction;
    const first = await space.reserve(600, 0, unnamed("10.0.0.1"));
    expect(first).toBeTypeOf("object");
    expect(await space.reserve(401, 0, unnamed("10.0.0.2"))).toBe("unnamed");
    expect(await space.reserve(400, 0, unnamed("10.0.0.2"))).toBeTypeOf("object");
    if (typeof first === "object") first.release();
    expect(await space.reserve(601, 0, unnamed("10.0.0.3"))).toBe("unnamed");
    expect(await space.reserve(600, 0, unnamed("10.0.0.3"))).toBeTypeOf("object");
  });
});

/** A store without space, and what happens in it, in its order. */
async function full(images: number) {
  const order: string[] = [];
  const setup = await openEviction({ capacity: images * 1100 });
  for (let image = 0; image < images; image++) await setup.image(`team/${image}`, [`layer ${image}`]);
  setup.now += graceMs;
  const reserve = (name: string, bytes: number, kept?: number) =>
    setup.eviction.space.reserve(bytes, kept).then((reservation) => {
      order.push(reservation ? name : `${name} refused`);
      return reservation;
    });
  setup.whenEvicted = () => void order.push("evicted");
  return { setup, order, reserve };
}

describe("a fill that waits for space", () => {
  it("goes on as soon as there is enough for it, and eviction goes on to the low water mark", async () => {
    const { setup, order, reserve } = await full(20);
    await reserve("small", 1000);
    expect(order).toEqual(["evicted", "small"]);
    await setup.eviction.space.trim();
    expect(await setup.bytes()).toBeLessThanOrEqual(20 * 1100 * 0.8 - 1000);
  });

  it("is served in the order of coming, and none passes a large one by", async () => {
    const { order, reserve } = await full(10);
    const large = reserve("large", 3000);
    const small = reserve("small", 100);
    await Promise.all([large, small]);
    expect(order.filter((what) => what !== "evicted")).toEqual(["large", "small"]);
  });

  it("is served by what another gives back", async () => {
    const { setup, order, reserve } = await full(2);
    const first = await reserve("first", 2200);
    expect(await setup.bytes()).toBe(0);
    const second = reserve("second", 2000);
    first?.release();
    await second;
    expect(order.at(-1)).toBe("second");
  });

  it("is counted beside leftovers, but not twice what its own has brought", async () => {
    const { setup, reserve } = await full(2);
    setup.leftovers = 1500;
    expect(await reserve("other", 800)).toBeUndefined();
    // Nothing goes for what would not have enough even then.
    expect(await setup.bytes()).toBe(2200);
    const own = await reserve("own", 2200, 1500);
    expect(own).toBeDefined();
    // The fill has gone on with it.
    setup.leftovers = 0;
    expect(await reserve("more", 1)).toBeUndefined();
    own?.release();
    expect(await reserve("other", 2200)).toBeDefined();
  });
});

describe("use counts", () => {
  it("are neither lost nor counted twice when they are noted and written at the same time", async () => {
    const setup = await openEviction();
    const digest = await setup.image("a", ["a"]);
    const note = (): void => setup.eviction.uses.note(repository("a"), digest);
    note();
    const flushes = [setup.eviction.uses.flush(), setup.eviction.uses.flush()];
    note();
    await Promise.resolve();
    note();
    await Promise.all(flushes);
    await setup.eviction.uses.flush();
    const [image] = await setup.eviction.inventory.byUse(undefined, 1);
    expect(image?.uses).toBe(3);
    expect(setup.eviction.uses.isNoted(repository("a"), digest)).toBe(false);
  });

  it("are written on closing, so that a restart remembers them", async () => {
    const setup = await openEviction();
    const digest = await setup.image("a", ["a"]);
    setup.now += 5000;
    for (let hit = 0; hit < 1000; hit++) setup.eviction.uses.note(repository("a"), digest);
    const [before] = await setup.eviction.inventory.byUse(undefined, 1);
    expect(before?.uses).toBe(0);
    await setup.eviction.close();
    const [after] = await setup.eviction.inventory.byUse(undefined, 1);
    expect([after?.uses, after?.usedAt]).toEqual([1000, setup.now]);
  });
});
