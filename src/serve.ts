/** The composition root: from a configuration to a running mirror, and back to nothing when it is told to stop. */
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { Config } from "./config/load.ts";
import { listen } from "./http/listen.ts";
import { registryFace } from "./http/registry.ts";
import { statusFace } from "./http/status.ts";
import { Mirror } from "./mirror/mirror.ts";
import type { Served } from "./mirror/served.ts";
import { unlimited } from "./quota/unlimited.ts";
import { DiskBlobs } from "./store/blobs.ts";
import { SqliteCatalog } from "./store/catalog.ts";
import { openDatabase } from "./store/database.ts";
import { Fills } from "./store/fill.ts";
import { openLog } from "./telemetry/log.ts";
import { Metrics } from "./telemetry/metrics.ts";
import { openCredential } from "./upstream/account.ts";
import { Registry } from "./upstream/registry.ts";

/** Serves until SIGTERM or SIGINT, and settles when the downloads that were running have ended. */
export async function serve(config: Config): Promise<void> {
  const log = openLog(config.log.level);
  const metrics = new Metrics();
  const { root } = config.storage;

  const blobs = await DiskBlobs.at(root);
  const database = openDatabase(join(root, "catalog.sqlite"));
  const catalog = new SqliteCatalog(database);
  const fills = new Fills();
  const registries = new Map<string, Registry>();
  for (const [name, settings] of Object.entries(config.upstreams)) {
    registries.set(name, await connect(name, settings, metrics));
  }
  const upstreams = new Map<string, Served>();
  for (const [name, upstream] of registries) {
    const { whenExhausted = "hold", alternates = [] } = config.upstreams[name] ?? {};
    upstreams.set(name, {
      upstream,
      quota: { state: "unlimited", worthAsking: () => false },
      whenExhausted,
      alternates: alternates.flatMap((other) => registries.get(other) ?? []),
    });
  }
  const freshness = {
    tagTtlMs: config.freshness.tagTtl,
    staleIfErrorMs: config.freshness.staleIfError,
    lowTtlFactor: config.quota.lowTtlFactor,
  };
  const stop = new Stop();
  const mirror = new Mirror({
    upstreams,
    blobs,
    fills,
    catalog,
    freshness,
    metrics,
    draining: stop.signal,
  });

  const routing = { upstreams: new Set(upstreams.keys()), defaultUpstream: config.defaultUpstream };
  const { stall: stallMs } = config.registry;
  const registry = await listen(
    registryFace({ mirror, routing, log, metrics, stallMs }),
    config.registry.listen,
  );
  const unready = (): string | undefined => (stop.signal.aborted ? "draining" : undefined);
  const status = await listen(statusFace({ metrics, unready }), config.status.listen);
  log.info(
    { registry: registry.url, status: status.url, upstreams: [...upstreams.keys()], storage: resolve(root) },
    "serving",
  );

  await stop.asked;
  const { grace } = config.shutdown;
  log.info({ graceMs: grace }, "draining");
  await Promise.all([
    registry.close(grace),
    Promise.race([fills.idle(), pause(grace, undefined, { ref: false })]),
  ]);
  await status.close(0);
  await Promise.all([...registries.values()].map((upstream) => upstream.close()));
  database.close();
  log.info("stopped");
}

async function connect(
  name: string,
  settings: Config["upstreams"][string],
  metrics: Metrics,
): Promise<Registry> {
  const { url, tokenRealms, allowPrivateAddresses, ca, timeouts } = settings;
  return new Registry({
    name,
    url,
    tokenRealms,
    allowPrivateAddresses,
    ...(ca !== undefined && { ca }),
    credential: await openCredential(settings.credential, url, Date.now),
    timeouts: { connectMs: timeouts.connect, headersMs: timeouts.headers, stallMs: timeouts.stall },
    bucket: unlimited,
    observe: ({ kind, status, ms }) => {
      metrics.upstreamRequests.inc({ upstream: name, kind, status });
      metrics.upstreamSeconds.observe({ upstream: name, kind }, ms / 1000);
    },
    now: Date.now,
  });
}

/** SIGTERM or SIGINT: the first asks to drain, the second ends the process at once. */
class Stop {
  readonly #controller = new AbortController();
  readonly signal = this.#controller.signal;
  readonly asked: Promise<void>;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.asked = promise;
    const hear = (): void => {
      if (this.signal.aborted) process.exit(1);
      this.#controller.abort();
      resolve();
    };
    process.on("SIGTERM", hear).on("SIGINT", hear);
  }
}
