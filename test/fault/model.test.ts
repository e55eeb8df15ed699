/**
 * Store and mirror against a simple model, over random pulls, evictions, crashes, restarts, moved tags and damaged files:
 * whatever happened before, a pull gives the right bytes, fetches just what is not held, and the sums are right.
 */
import { mkdtemp, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import type Database from "better-sqlite3";
import fc from "fast-check";
import { expect, it } from "vitest";
import { patienceMs } from "../../src/mirror/ask.ts";
import type { Ask } from "../../src/mirror/ask.ts";
import { Mirror } from "../../src/mirror/mirror.ts";
import { digestOf, type Digest } from "../../src/oci/digest.ts";
import { blobPath } from "../../src/oci/layout.ts";
import { parsePattern, type Pattern } from "../../src/oci/pattern.ts";
import { DiskBlobs } from "../../src/store/blobs.ts";
import { SqliteCatalog } from "../../src/store/catalog.ts";
import { openDatabase } from "../../src/store/database.ts";
import { Custody } from "../../src/store/custody.ts";
import { SqliteFindings } from "../../src/store/findings.ts";
import { Fills } from "../../src/store/fill.ts";
import { Health } from "../../src/store/health.ts";
import { Intake } from "../../src/store/intake.ts";
import { SqliteInventory } from "../../src/store/inventory.ts";
import { graceMs, Keeper } from "../../src/store/keeper.ts";
import { Pins, SqlitePinTable } from "../../src/store/pins.ts";
import { Metrics } from "../../src/telemetry/metrics.ts";
import { ShelfUpstream, shelf, tag, versionOf, type Version } from "../support/shelfUpstream.ts";

const repositories = 4;
const capacity = 100_000;
const runs = Number(process.env["MODEL_RUNS"] ?? 60);

/** What should be so: the simplest bookkeeping there is. */
class Model {
  readonly versions: number[] = Array.from({ length: repositories }, () => 0);
  /** Images that are held, by manifest, with their last use. */
  readonly images = new Map<Digest, { number: number; version: Version; usedAt: number }>();
  /** Sizes of the blobs that are held, manifests among them. */
  readonly blobs = new Map<Digest, number>();
  /** Those of them whose files are too short. */
  readonly damaged = new Set<Digest>();

  get bytes(): number {
    return this.blobs.values().reduce((sum, size) => sum + size, 0);
  }

  drop(manifest: Digest): void {
    this.images.delete(manifest);
    const named = new Set<Digest>();
    for (const [digest, { version }] of this.images) {
      for (const one of [digest, ...version.blobs.keys()]) named.add(one);
    }
    for (const digest of this.blobs.keys()) {
      if (named.has(digest)) continue;
      this.blobs.delete(digest);
      this.damaged.delete(digest);
    }
  }
}

/** What is in memory. */
interface Rooms {
  readonly database: Database.Database;
  readonly blobs: DiskBlobs;
  readonly fills: Fills;
  readonly keeper: Keeper;
  readonly mirror: Mirror;
}

async function openRooms(root: string, upstream: ShelfUpstream, now: () => number): Promise<Rooms> {
  const database = openDatabase(join(root, "catalog.sqlite"));
  const blobs = await DiskBlobs.at(root);
  const fills = new Fills();
  const keeper = new Keeper({
    inventory: new SqliteInventory(database),
    blobs,
    marks: { capacity, high: capacity, low: capacity },
    pins: new Pins(new SqlitePinTable(() => database), [], now),
    retention: [],
    rest: async () => {},
    evicted: () => {},
    failed: () => {},
    now,
  });
  const catalog = new SqliteCatalog(database, now);
  const health = new Health({ root, minFree: 0, changed: () => {} });
  const quota = { state: "unlimited", rehearsal: undefined, worthAsking: () => false } as const;
  const mirror = new Mirror({
    upstreams: new Map([
      [upstream.name, { upstream, quota, whenExhausted: "hold", alternates: [] } as const],
    ]),
    blobs,
    fills,
    catalog,
    custody: new Custody({ blobs, catalog, condemned: () => {} }),
    intake: new Intake({ blobs, fills, health, room: keeper.room }),
    health,
    used: (repository, digest) => keeper.uses.note(repository, digest),
    freshness: { tagTtlMs: 0, staleIfErrorMs: 0, lowTtlFactor: 1 },
    metrics: new Metrics(),
    policy: {
      rules: [],
      verify: [],
      immutableTags: [],
      findings: new SqliteFindings(database),
      tell: () => {},
    },
    draining: new AbortController().signal,
    now,
  });
  return { database, blobs, fills, keeper, mirror };
}

/** The real thing: a folder that outlives its memory. */
class House {
  now = 1_000_000_000;
  readonly root: string;
  readonly upstream: ShelfUpstream;
  #rooms: Rooms;
  readonly #crashed: Rooms[] = [];

  private constructor(root: string, upstream: ShelfUpstream, rooms: Rooms) {
    this.root = root;
    this.upstream = upstream;
    this.#rooms = rooms;
  }

  static async open(): Promise<House> {
    const root = await mkdtemp(join(tmpdir(), "hubcap-model-"));
    const upstream = new ShelfUpstream();
    for (let one = 0; one < repositories; one++) upstream.push(one, versionOf(one, 0));
    const house: House = new House(root, upstream, await openRooms(root, upstream, () => house.now));
    return house;
  }

  get rooms(): Rooms {
    return this.#rooms;
  }

  /** What was in memory is left as it is, open files included. */
  async crash(): Promise<void> {
    this.#crashed.push(this.#rooms);
    this.#rooms = await openRooms(this.root, this.upstream, () => this.now);
  }

  async restart(): Promise<void> {
    await this.#rooms.keeper.close();
    this.#rooms.database.close();
    this.#rooms = await openRooms(this.root, this.upstream, () => this.now);
  }

  async close(): Promise<void> {
    await this.#rooms.fills.idle();
    for (const { database } of [...this.#crashed, this.#rooms]) database.close();
    await rm(this.root, { recursive: true });
  }

  ask(): Ask {
    return {
      client: "node",
      userAgent: "test",
      head: false,
      until: performance.now() + patienceMs,
      upstreamMs: 0,
    };
  }
}

type Step = fc.AsyncCommand<Model, House>;

/** A command with a name, after which the store must hold what the model says, under names that are true. */
function step(name: string, run: (model: Model, house: House) => Promise<void>): Step {
  return {
    check: () => true,
    async run(model, house) {
      house.now += 1000;
      await run(model, house);
      expect(await house.rooms.keeper.totals()).toEqual({
        bytes: model.bytes,
        blobs: model.blobs.size,
        manifests: model.images.size,
      });
      const onDisk = await Array.fromAsync(house.rooms.blobs.list());
      expect(new Set(onDisk.map(({ digest }) => digest))).toEqual(new Set(model.blobs.keys()));
      for (const { digest, size } of onDisk) {
        if (model.damaged.has(digest)) continue;
        const bytes = await house.rooms.blobs.read(digest, size);
        expect(bytes && digestOf(bytes)).toBe(digest);
      }
    },
    toString: () => name,
  };
}

function pull(number: number): Step {
  return step(`pull ${number}`, async (model, house) => {
    const version = versionOf(number, model.versions[number] ?? 0);
    const lacking = [version.digest, ...version.blobs.keys()].filter(
      (digest) => !model.blobs.has(digest) || model.damaged.has(digest),
    );
    house.upstream.sent.length = 0;
    const answer = await house.rooms.mirror.manifest(shelf(number), tag, house.ask());
    expect(answer.bytes).toEqual(version.bytes);
    for (const [digest, bytes] of version.blobs) {
      const { content } = await house.rooms.mirror.blob(shelf(number), digest, house.ask());
      expect(content && (await buffer(content.stream()))).toEqual(bytes);
    }
    await house.rooms.fills.idle();
    await house.rooms.keeper.uses.flush();
    expect(house.upstream.sent.toSorted()).toEqual(lacking.toSorted());
    model.images.set(version.digest, { number, version, usedAt: house.now });
    model.blobs.set(version.digest, version.bytes.length);
    for (const [digest, bytes] of version.blobs) model.blobs.set(digest, bytes.length);
    for (const digest of lacking) model.damaged.delete(digest);
  });
}

const remove = (number: number): Step =>
  step(`remove ${number}`, async (model, house) => {
    const pattern = parsePattern(`docker.io/${shelf(number).name}`) as Pattern;
    await house.rooms.keeper.remove(pattern, () => {}, false);
    for (const [digest, image] of model.images) if (image.number === number) model.drop(digest);
  });

/** Evicts what was unused for longest until a blob of `bytes` bytes has room. */
const squeeze = (bytes: number): Step =>
  step(`evict for ${bytes}`, async (model, house) => {
    house.now += graceMs;
    const reservation = await house.rooms.keeper.room.reserve(bytes);
    expect(reservation).toBeDefined();
    reservation?.release();
    const byUse = [...model.images].toSorted(([, one], [, other]) => one.usedAt - other.usedAt);
    for (const [digest] of byUse) {
      if (model.bytes <= capacity - bytes) break;
      model.drop(digest);
    }
  });

const change = (number: number): Step =>
  step(`upstream changes ${number}`, async (model, house) => {
    const version = (model.versions[number] ?? 0) + 1;
    model.versions[number] = version;
    house.upstream.push(number, versionOf(number, version));
  });

/** Damage that is seen when a file is opened; what is not is the scrub's to find. */
const damage = (which: number): Step =>
  step(`damage ${which}`, async (model, house) => {
    const digest = [...model.blobs.keys()].toSorted()[which % Math.max(1, model.blobs.size)];
    if (digest === undefined) return;
    const [, algorithm = "", hex = ""] = blobPath(digest).split("/");
    await truncate(join(house.root, "blobs", algorithm, hex.slice(0, 2), hex), 3);
    model.damaged.add(digest);
  });

const crash = step("crash", (_model, house) => house.crash());
const restart = step("restart", (_model, house) => house.restart());

const number = fc.nat(repositories - 1);
const commands = fc.commands(
  [
    number.map(pull),
    number.map(pull),
    number.map(remove),
    fc.integer({ min: capacity - 12_000, max: capacity }).map(squeeze),
    number.map(change),
    fc.nat(100).map(damage),
    fc.constant(crash),
    fc.constant(restart),
  ],
  { maxCommands: 30 },
);

it("holds what the model says after any history, and serves nothing wrong (R12, R13, R15, R17)", async () => {
  await fc.assert(
    fc.asyncProperty(commands, async (history) => {
      const house = await House.open();
      for (let one = 0; one < repositories; one++) house.upstream.push(one, versionOf(one, 0));
      await house.crash();
      try {
        await fc.asyncModelRun(() => ({ model: new Model(), real: house }), history);
      } finally {
        await house.close();
      }
    }),
    { numRuns: runs },
  );
}, 120_000);
