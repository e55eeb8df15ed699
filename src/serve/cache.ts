/** The part of the composition that keeps the cache: what goes when room is short, what never does, and who hears of it. */
import type { Config } from "../config/load.ts";
import type { Routing } from "../oci/routing.ts";
import { Eviction } from "../store/evict/eviction.ts";
import { Pins } from "../store/evict/pins.ts";
import type { Store } from "../store/open.ts";
import type { Reconciler } from "../store/repair/reconcile.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { pinsOf } from "./warming.ts";

/** Opens the keeper of what is in `storage`, which closes with `open`. It does nothing by itself before it is started. */
export async function openEviction(
  config: Config,
  { inventory, expiry, state, blobs, checkpoint }: Store,
  reconciler: Reconciler,
  routing: Routing,
  open: AsyncDisposableStack,
  log: Log,
  metrics: Metrics,
): Promise<Eviction> {
  const { capacity, highWater, lowWater, retention, pins } = config.storage;
  const own = new Pins(state.pins, [...pins, ...pinsOf(config.warm, routing)], Date.now);
  await own.load();
  const keeper = new Eviction({
    inventory,
    blobs: reconciler,
    hearsay: expiry,
    listAgeMs: config.freshness.staleIfError,
    leftovers: () => blobs.keptInAll(),
    marks: { capacity, high: capacity * highWater, low: capacity * lowWater },
    pins: own,
    retention,
    rest: checkpoint,
    evicted: (reason, bytes) => {
      metrics.evictedBytes.inc({ reason }, bytes);
      log.debug({ reason, bytes }, "evicted");
    },
    failed: (error) => log.error({ err: error }, "housekeeping failed"),
  });
  open.defer(() => keeper.close());
  metrics.watchCache(() => keeper.totals(), capacity);
  return keeper;
}
