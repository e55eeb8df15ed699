/** Opens eviction: what is evicted when there is too much, and what never is. */
import type { Clock } from "../async/clock.ts";
import type { Config } from "../config/load.ts";
import type { Routing } from "../oci/target.ts";
import { Eviction } from "../store/evict/eviction.ts";
import { Pins } from "../store/evict/pins.ts";
import type { Store } from "../store/open.ts";
import type { Reconciler } from "../store/repair/reconcile.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { pinsOf } from "./warming.ts";

/** Opens the eviction of what is in the store, which closes with `open`. It does nothing by itself before it is started. */
export async function openEviction(
  config: Config,
  { inventory, expiry, lasting, databaseBytes, state, blobs, checkpoint }: Store,
  reconciler: Reconciler,
  routing: Routing,
  open: AsyncDisposableStack,
  log: Log,
  metrics: Metrics,
  clock: Clock,
): Promise<Eviction> {
  const { capacity, highWater, lowWater, retention, pins } = config.storage;
  const allPins = new Pins(state.pins, [...pins, ...pinsOf(config.warm, routing)], () => clock.now());
  await allPins.load();
  const eviction = new Eviction({
    inventory,
    blobs: reconciler,
    metadata: expiry,
    lasting,
    listAgeMs: config.freshness.staleIfError,
    leftovers: () => blobs.keptInAll(),
    marks: { capacity, high: capacity * highWater, low: capacity * lowWater },
    pins: allPins,
    retention,
    rest: checkpoint,
    evicted: (reason, bytes) => {
      metrics.evictedBytes.inc({ reason }, bytes);
      log.debug({ reason, bytes }, "evicted");
    },
    forgotten: (table, rows) => metrics.forgottenRows.inc({ table }, rows),
    failed: (error) => log.error({ err: error }, "looking after the cache failed; it is tried again"),
    clock,
  });
  open.defer(() => eviction.close());
  metrics.watchCache(() => eviction.totals(), databaseBytes, capacity);
  return eviction;
}
