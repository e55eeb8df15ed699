/** A real store in a folder of its own, and a mirror in front of it, assembled as the composition does. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { Mirror } from "../../src/mirror/mirror.ts";
import type { PolicyRule } from "../../src/mirror/policyRules.ts";
import { Eviction } from "../../src/store/evict/eviction.ts";
import { Pins } from "../../src/store/evict/pins.ts";
import { Fills } from "../../src/store/fill/fills.ts";
import { Intake } from "../../src/store/fill/intake.ts";
import { Health } from "../../src/store/health.ts";
import { openStore, type Store } from "../../src/store/open.ts";
import { Reconciler } from "../../src/store/repair/reconcile.ts";
import {
  TolerantBlobs,
  TolerantCatalog,
  TolerantSightings,
  TolerantVerdicts,
} from "../../src/store/tolerant.ts";
import { Metrics } from "../../src/telemetry/metrics.ts";
import { clockAt, unlimited } from "./pullContext.ts";
import type { ShelfUpstream } from "./shelfUpstream.ts";

export interface TestStoreOptions {
  /** Default: a new folder. */
  readonly root?: string;
  readonly now?: () => number;
}

export interface TestStore extends Store {
  readonly root: string;
}

/** Opens a store until the test is over, unless the test closes it before. */
export async function testStore({ root, now }: TestStoreOptions = {}): Promise<TestStore> {
  const folder = root ?? (await mkdtemp(join(tmpdir(), "hubcap-store-")));
  const store = await openStore({ root: folder, ...(now && { now }) });
  let isClosed = false;
  const close = async (): Promise<void> => {
    if (isClosed) return;
    isClosed = true;
    await store.close();
  };
  onTestFinished(close);
  return { ...store, root: folder, close };
}

export interface TestMirrorOptions {
  readonly store: TestStore;
  readonly upstream: ShelfUpstream;
  /** In bytes. Nothing is evicted before it is reached. */
  readonly capacity: number;
  readonly now: () => number;
  /** Default: none. */
  readonly rules?: readonly PolicyRule[];
}

export interface TestMirror {
  readonly mirror: Mirror;
  readonly fills: Fills;
  readonly reconciler: Reconciler;
  readonly eviction: Eviction;
  readonly health: Health;
}

/** A mirror with one upstream that has no limit, for which a tag is fresh for no time. */
export function testMirror({ store, upstream, capacity, now, rules = [] }: TestMirrorOptions): TestMirror {
  const { root, verdicts } = store;
  const { anchors, sightings, proof } = store.state;
  const health = new Health({ root, minFree: 0, changed: () => {}, files: store.files });
  const blobs = new TolerantBlobs(store.blobs, health);
  const catalog = new TolerantCatalog(store.catalog, health);
  const fills = new Fills(clockAt(now));
  const eviction = new Eviction({
    inventory: store.inventory,
    blobs,
    metadata: store.expiry,
    lasting: store.lasting,
    forgotten: () => {},
    listAgeMs: 0,
    marks: { capacity, high: capacity, low: capacity },
    leftovers: () => blobs.keptInAll(),
    pins: new Pins(store.state.pins, [], now),
    retention: [],
    rest: async () => {},
    evicted: () => {},
    failed: () => {},
    clock: clockAt(now),
  });
  const reconciler = new Reconciler({
    blobs,
    catalog,
    isStoreTrouble: (error) => health.note(error) !== undefined,
  });
  const mirror = new Mirror({
    upstreams: new Map([[upstream.name, unlimited(upstream)]]),
    blobs,
    fills,
    catalog,
    reconciler,
    intake: new Intake({
      blobs,
      fills,
      health,
      space: eviction.space,
      isNamed: (digest) => eviction.isNamed(digest),
    }),
    health,
    used: (repository, digest) => eviction.uses.note(repository, digest),
    freshness: { tagTtlMs: 0, staleIfErrorMs: 0, lowTtlFactor: 1 },
    metrics: new Metrics(),
    misses: { burst: 1_000_000, perMinute: 1, reached: () => {} },
    policy: {
      rules,
      verify: [],
      immutableTags: [],
      verdicts: new TolerantVerdicts(verdicts, health),
      anchors,
      sightings: new TolerantSightings(sightings, health),
      proof,
      tell: () => {},
    },
    draining: new AbortController().signal,
    clock: clockAt(now),
    failed: (error) => {
      throw error;
    },
  });
  return { mirror, fills, reconciler, eviction, health };
}
