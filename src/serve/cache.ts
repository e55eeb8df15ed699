/** The part of the composition that keeps the cache: what goes when room is short, what never does, and who hears of it. */
import type { Config } from "../config/load.ts";
import type { Routing } from "../oci/routing.ts";
import { Checkpointer } from "../store/sqlite/checkpoint.ts";
import { SqliteMetadataExpiry } from "../store/evict/metadataExpiry.ts";
import { SqliteInventory } from "../store/sqlite/inventory.ts";
import { Eviction } from "../store/evict/eviction.ts";
import { Pins, SqlitePinTable } from "../store/evict/pins.ts";
import type { Store } from "../store/open.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { pinsOf } from "./warming.ts";

/** Opens the keeper of what is in `storage`, which closes with `open`. It does nothing by itself before it is started. */
export function openEviction(
  config: Config,
  { database, custody, blobs }: Pick<Store, "database" | "custody" | "blobs">,
  routing: Routing,
  open: AsyncDisposableStack,
  log: Log,
  metrics: Metrics,
): Eviction {
  const checkpointer = new Checkpointer(database.path);
  open.defer(() => checkpointer.close());
  const { capacity, highWater, lowWater, retention, pins } = config.storage;
  const keeper = new Eviction({
    inventory: database.over((handle) => new SqliteInventory(handle)),
    blobs: custody,
    hearsay: database.over((handle) => new SqliteMetadataExpiry(handle)),
    listAgeMs: config.freshness.staleIfError,
    leftovers: () => blobs.keptInAll(),
    marks: { capacity, high: capacity * highWater, low: capacity * lowWater },
    pins: new Pins(
      new SqlitePinTable(database.current),
      [...pins, ...pinsOf(config.warm, routing)],
      Date.now,
    ),
    retention,
    rest: () => checkpointer.run(),
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
