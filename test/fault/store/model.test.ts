/**
 * Store and mirror against a simple model, over random pulls, evictions, crashes, restarts, moved tags, damaged files and
 * rotten ones with the scrub that finds them: whatever happened before, a pull gives the right bytes, fetches just what is
 * not held, and the sums are right.
 */
import { cpSync } from "node:fs";
import { open, readdir, rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import { digestOf, hexOf, type Digest } from "../../../src/oci/digest.ts";
import { blobPath } from "../../../src/oci/layout.ts";
import { parsePattern, type Pattern } from "../../../src/oci/pattern.ts";
import { graceMs } from "../../../src/store/evict/eviction.ts";
import { systemClock } from "../../../src/async/clock.ts";
import { Scrub } from "../../../src/store/repair/scrub.ts";
import { ShelfUpstream, shelf, tag, versionOf, type Version } from "../../support/shelfUpstream.ts";
import { requestOf } from "../../support/pullContext.ts";
import { bytesOf } from "../../support/pieces.ts";
import { slowStore } from "../../support/slowStore.ts";
import { testMirror, testStore, type TestMirror, type TestStore } from "../../support/testStore.ts";

const repositories = 4;
const capacity = 100_000;
const runs = Number(process.env["MODEL_RUNS"] ?? 60);
/** The same histories each time. `npm run test:model` makes others, and many more. */
const isShort = process.env["MODEL_RUNS"] === undefined;

/** What should be so: the simplest bookkeeping there is. */
class Model {
  readonly versions: number[] = Array.from({ length: repositories }, () => 0);
  /** Images that are held, by manifest, with their last use. */
  readonly images = new Map<Digest, { number: number; version: Version; usedAt: number }>();
  /** Sizes of the blobs that are held, manifests among them. */
  readonly blobs = new Map<Digest, number>();
  /** Those of them whose files are too short. */
  readonly damaged = new Set<Digest>();
  /** Those with a bit turned over, which their size does not tell. */
  readonly rotten = new Set<Digest>();
  /** What was taken out of service, by the scrub or because a pull saw that it was too short. */
  readonly quarantined = new Set<Digest>();

  get bytes(): number {
    return this.blobs.values().reduce((sum, size) => sum + size, 0);
  }

  /** Lets go of an image, with what it alone names. */
  drop(manifest: Digest): void {
    const going = this.images.get(manifest)?.version.blobs.keys() ?? [];
    this.images.delete(manifest);
    for (const digest of [manifest, ...going]) if (!this.#isNamed(digest)) this.lose(digest);
  }

  /** Blobs whose manifest went to quarantine stay until space is made. */
  dropOrphans(): void {
    for (const digest of this.blobs.keys()) if (!this.#isNamed(digest)) this.lose(digest);
  }

  /** The bytes of a digest are gone. */
  lose(digest: Digest): void {
    this.images.delete(digest);
    this.blobs.delete(digest);
    this.mend(digest);
  }

  /** The bytes of a digest are those that the upstream sent. */
  mend(digest: Digest): void {
    this.damaged.delete(digest);
    this.rotten.delete(digest);
  }

  #isNamed(digest: Digest): boolean {
    return [...this.images].some(
      ([manifest, { version }]) => manifest === digest || version.blobs.has(digest),
    );
  }
}

/** The real thing: a folder that outlives what is in memory. */
class Setup {
  now = 1_000_000_000;
  readonly upstream = new ShelfUpstream();
  store: TestStore;
  readonly #opened: TestStore[] = [];
  #parts: TestMirror;

  private constructor(store: TestStore) {
    this.store = store;
    this.#opened.push(store);
    for (let one = 0; one < repositories; one++) this.upstream.push(one, versionOf(one, 0));
    this.#parts = this.#open();
  }

  static async open(): Promise<Setup> {
    return new Setup(await testStore());
  }

  get parts(): TestMirror {
    return this.#parts;
  }

  /** What was in memory is left as it is, open files included: another process finds what was on disk at that moment. */
  async crash(): Promise<void> {
    const root = `${this.store.root}-`;
    cpSync(this.store.root, root, { recursive: true });
    await this.#reopen(root);
  }

  async restart(): Promise<void> {
    const { root } = this.store;
    await this.#parts.eviction.close();
    await this.store.close();
    await this.#reopen(root);
  }

  async close(): Promise<void> {
    await this.#parts.fills.idle();
    for (const store of this.#opened) {
      await store.close();
      await rm(store.root, { recursive: true, force: true });
    }
  }

  async #reopen(root: string): Promise<void> {
    this.store = await testStore({ root, now: () => this.now });
    this.#opened.push(this.store);
    this.#parts = this.#open();
  }

  #open(): TestMirror {
    // Every call yields, so that nothing can rely on two of them happening in one turn.
    const store = { ...this.store, ...slowStore(this.store) };
    return testMirror({ store, upstream: this.upstream, capacity, now: () => this.now });
  }
}

type Step = fc.AsyncCommand<Model, Setup>;

/** A command with a name, after which the store must hold what the model says, under names that are true. */
function step(name: string, run: (model: Model, setup: Setup) => Promise<void>): Step {
  return {
    check: () => true,
    async run(model, setup) {
      setup.now += 1000;
      await run(model, setup);
      expect(await setup.parts.eviction.totals()).toEqual({
        bytes: model.bytes,
        blobs: model.blobs.size,
        manifests: model.images.size,
      });
      const onDisk = await Array.fromAsync(setup.store.blobs.list());
      expect(new Set(onDisk.map(({ digest }) => digest))).toEqual(new Set(model.blobs.keys()));
      for (const { digest, size } of onDisk) {
        if (model.damaged.has(digest) || model.rotten.has(digest)) continue;
        const bytes = await setup.store.blobs.read(digest, size);
        expect(bytes && digestOf(bytes)).toBe(digest);
      }
    },
    toString: () => name,
  };
}

function pull(number: number): Step {
  return step(`pull ${number}`, async (model, setup) => {
    const version = versionOf(number, model.versions[number] ?? 0);
    const lacking = [version.digest, ...version.blobs.keys()].filter(
      (digest) =>
        !model.blobs.has(digest) ||
        model.damaged.has(digest) ||
        // A manifest is checked whenever it is read.
        (digest === version.digest && model.rotten.has(digest)),
    );
    setup.upstream.sent.length = 0;
    const answer = await setup.parts.mirror.manifest(shelf(number), tag, requestOf());
    expect(answer.bytes).toEqual(version.bytes);
    await answer.stored;
    for (const [digest, bytes] of version.blobs) {
      const { content } = await setup.parts.mirror.blob(shelf(number), digest, requestOf());
      const served = await bytesOf(content);
      // Of what has rotted since it was last scrubbed, a client gets all, and refuses it for its digest.
      if (model.rotten.has(digest)) expect(served && digestOf(served)).not.toBe(digest);
      else expect(served).toEqual(bytes);
    }
    await setup.parts.fills.idle();
    await setup.parts.eviction.uses.flush();
    expect(setup.upstream.sent.toSorted()).toEqual(lacking.toSorted());
    model.images.set(version.digest, { number, version, usedAt: setup.now });
    model.blobs.set(version.digest, version.bytes.length);
    for (const [digest, bytes] of version.blobs) model.blobs.set(digest, bytes.length);
    for (const digest of lacking) {
      if (model.damaged.has(digest)) model.quarantined.add(digest);
      model.mend(digest);
    }
  });
}

const remove = (number: number): Step =>
  step(`remove ${number}`, async (model, setup) => {
    const pattern = parsePattern(`docker.io/${shelf(number).name}`) as Pattern;
    await setup.parts.eviction.remove(pattern, () => {}, false);
    for (const [digest, image] of model.images) if (image.number === number) model.drop(digest);
  });

/** Evicts what was unused for longest until a blob of `bytes` bytes has space. */
const squeeze = (bytes: number): Step =>
  step(`evict for ${bytes}`, async (model, setup) => {
    setup.now += graceMs;
    const reservation = await setup.parts.eviction.space.reserve(bytes);
    expect(reservation).toBeDefined();
    reservation?.release();
    if (model.bytes > capacity - bytes) model.dropOrphans();
    const byUse = [...model.images].toSorted(([, one], [, other]) => one.usedAt - other.usedAt);
    for (const [digest] of byUse) {
      if (model.bytes <= capacity - bytes) break;
      model.drop(digest);
    }
  });

const change = (number: number): Step =>
  step(`upstream changes ${number}`, async (model, setup) => {
    const version = (model.versions[number] ?? 0) + 1;
    model.versions[number] = version;
    setup.upstream.push(number, versionOf(number, version));
  });

function fileOf(setup: Setup, digest: Digest): string {
  const [, algorithm = "", hex = ""] = blobPath(digest).split("/");
  return join(setup.store.root, "blobs", algorithm, hex.slice(0, 2), hex);
}

function heldBy(model: Model, which: number): Digest | undefined {
  return [...model.blobs.keys()].toSorted()[which % Math.max(1, model.blobs.size)];
}

/** Damage that is seen when a file is opened. */
const damage = (which: number): Step =>
  step(`damage ${which}`, async (model, setup) => {
    const digest = heldBy(model, which);
    if (digest === undefined) return;
    await truncate(fileOf(setup, digest), 3);
    model.mend(digest);
    model.damaged.add(digest);
  });

/** Damage that only those see who read everything. */
const flip = (which: number): Step =>
  step(`flip a bit of ${which}`, async (model, setup) => {
    const digest = heldBy(model, which);
    if (digest === undefined || model.damaged.has(digest) || model.rotten.has(digest)) return;
    await using file = await open(fileOf(setup, digest), "r+");
    const byte = Buffer.alloc(1);
    const position = Math.floor((model.blobs.get(digest) ?? 0) / 2);
    await file.read(byte, 0, 1, position);
    byte[0] = (byte[0] ?? 0) ^ 1;
    await file.write(byte, 0, 1, position);
    model.rotten.add(digest);
  });

const scrubEveryMs = 10_000;

/** Reads everything that is held, whatever an earlier scrub has reached. */
const scrub = (): Step =>
  step("scrub", async (model, setup) => {
    const { reconciler } = setup.parts;
    const scrub = new Scrub({
      survey: setup.store.survey,
      reconciler,
      rate: 1e12,
      every: scrubEveryMs,
      scrubbed: () => {},
      failed: (error) => {
        throw error;
      },
      clock: { ...systemClock, now: () => setup.now },
    });
    const { signal } = new AbortController();
    // To the end of the round that is under way, and then a whole one.
    while (await scrub.step(signal));
    setup.now += scrubEveryMs;
    while (await scrub.step(signal));
    for (const digest of [...model.damaged, ...model.rotten]) {
      model.quarantined.add(digest);
      model.lose(digest);
    }
    const quarantine = await readdir(join(setup.store.root, "quarantine"));
    expect(new Set(quarantine)).toEqual(
      new Set([...model.quarantined].map((digest) => `sha256-${hexOf(digest)}`)),
    );
  });

const crash = step("crash", (_model, setup) => setup.crash());
const restart = step("restart", (_model, setup) => setup.restart());

const number = fc.nat(repositories - 1);
const commands = fc.commands(
  [
    number.map(pull),
    number.map(pull),
    number.map(remove),
    fc.integer({ min: capacity - 12_000, max: capacity }).map(squeeze),
    number.map(change),
    fc.nat(100).map(damage),
    fc.nat(100).map(flip),
    fc.constant(0).map(scrub),
    fc.constant(crash),
    fc.constant(restart),
  ],
  { maxCommands: 30 },
);

it(
  "holds what the model says after any history, and serves nothing wrong (R12, R13, R15, R17)",
  async () => {
    await fc.assert(
      fc.asyncProperty(commands, async (history) => {
        const setup = await Setup.open();
        await setup.crash();
        try {
          await fc.asyncModelRun(() => ({ model: new Model(), real: setup }), history);
        } finally {
          await setup.close();
        }
      }),
      { numRuns: runs, ...(isShort && { seed: 1 }) },
    );
  },
  120_000 + runs * 2000,
);
