/** The part of the composition that keeps the cache: what goes when room is short, what never does, and who hears of it. */
import type { Config } from "./config/load.ts";
import type { Routing } from "./oci/routing.ts";
import { Checkpointer } from "./store/checkpoint.ts";
import { SqliteHearsay } from "./store/hearsay.ts";
import { SqliteInventory } from "./store/inventory.ts";
import { Keeper } from "./store/keeper.ts";
import { Pins, SqlitePinTable } from "./store/pins.ts";
import type { Storage } from "./store/storage.ts";
import type { Log } from "./telemetry/log.ts";
import type { Metrics } from "./telemetry/metrics.ts";
import { pinsOf } from "./warming.ts";

/** Opens the keeper of what is in `storage`, which closes with `open`. It does nothing by itself before it is started. */
export function openKeeper(
  config: Config,
  { database, custody, blobs }: Pick<Storage, "database" | "custody" | "blobs">,
  routing: Routing,
  open: AsyncDisposableStack,
  log: Log,
  metrics: Metrics,
): Keeper {
  const checkpointer = new Checkpointer(database.path);
  open.defer(() => checkpointer.close());
  const { capacity, highWater, lowWater, retention, pins } = config.storage;
  const keeper = new Keeper({
    inventory: database.over((handle) => new SqliteInventory(handle)),
    blobs: custody,
    hearsay: database.over((handle) => new SqliteHearsay(handle)),
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
