/** The composition: opens everything from a configuration, serves, and closes everything when it is stopped. */
import { resolve } from "node:path";
import { systemClock } from "../async/clock.ts";
import type { Config } from "../config/load.ts";
import { Mirror } from "../mirror/mirror.ts";
import { Intake } from "../store/fill/intake.ts";
import { openStore, type Replacement } from "../store/open.ts";
import { Upkeep } from "../store/repair/upkeep.ts";
import { TolerantVisibilities } from "../store/tolerant.ts";
import { openLog, openOutput, type Output } from "../telemetry/log.ts";
import { Metrics } from "../telemetry/metrics.ts";
import { storageEvents } from "../telemetry/storage.ts";
import { openAccess } from "./access.ts";
import { openAlerts } from "./alerts.ts";
import { openEviction } from "./cache.ts";
import { openObservability } from "./observability.ts";
import { openPolicy } from "./policy.ts";
import { openRegistryServer, openStatusServer, type RegistryServer } from "./servers.ts";
import { ShutdownSignal } from "./shutdown.ts";
import { openTls } from "./tls.ts";
import { closeUpstreams, mirrorUpstreams, openUpstreams, saveBuckets } from "./upstreams.ts";
import { Warming } from "./warming.ts";

/** How often the state of buckets is saved. */
const minuteMs = 60_000;

/** What tests replace. */
export interface Surroundings {
  /** Default: SIGTERM and SIGINT. */
  readonly shutdown?: Pick<ShutdownSignal, "signal" | "requested">;
  /** Where the log is written. Default: standard output. */
  readonly output?: Output;
}

/** Serves until it is stopped, and settles when open connections and fills have had their time to end. */
export async function serve(config: Config, surroundings: Surroundings = {}): Promise<void> {
  const { output = openOutput() } = surroundings;
  // Everything that is opened is closed in reverse, also after a start that failed half-way.
  await using open = new AsyncDisposableStack();
  const clock = systemClock;
  const log = openLog(config.log.level, output);
  const metrics = new Metrics();
  const routing = {
    upstreams: new Set(Object.keys(config.upstreams)),
    defaultUpstream: config.defaultUpstream,
  };
  const tls = await openTls(config, log, metrics, clock);
  open.defer(() => tls.close());
  const observability = await openObservability(config, log, metrics, clock);
  open.defer(() => observability.close());

  // The store
  let registry: RegistryServer | undefined = undefined;
  const logged = storageEvents(log, metrics);
  const events = {
    ...logged,
    catalogReplaced: (aside: string, damage: unknown) => {
      logged.catalogReplaced(aside, damage);
      upkeep?.rebuild();
      registry?.restartWorkers();
    },
    stateReplaced: (replacement: Replacement, damage: unknown) => {
      logged.stateReplaced(replacement, damage);
      void upkeep?.readProof();
    },
  };
  let upkeep: Upkeep | undefined = undefined;
  const store = await openStore({ root: config.storage.root, events, now: () => clock.now() });
  open.defer(() => store.close());
  upkeep = new Upkeep({ ...config.storage, store, events, clock });
  await upkeep.readProof();
  open.defer(upkeep.backUp);
  const { ledger, state } = store;
  const { blobs, catalog, fills, health, reconciler } = upkeep;
  const eviction = await openEviction(config, store, reconciler, routing, open, log, metrics, clock);

  // Upstreams and their quota
  const connected = await openUpstreams(config, ledger, log, metrics, clock);
  open.defer(() => closeUpstreams(connected));
  const buckets = new Map([...connected].map(([name, { bucket }]) => [name, bucket]));

  // What clients may pull, and pulls
  const visibilities = new TolerantVisibilities(state.visibilities, health);
  const clients = await openAccess(config, connected, visibilities, log, clock);
  open.defer(() => clients.close());
  const { access, identities } = clients;
  const { shutdown = new ShutdownSignal(clock) } = surroundings;
  const draining = shutdown.signal;
  const { policy, policyEvents } = await openPolicy(config, store, health, log, metrics);
  const mirror = new Mirror({
    upstreams: mirrorUpstreams(connected, config),
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
    freshness: {
      tagTtlMs: config.freshness.tagTtl,
      staleIfErrorMs: config.freshness.staleIfError,
      lowTtlFactor: config.quota.lowTtlFactor,
    },
    metrics,
    policy,
    misses: { ...config.limits.misses, reached: () => metrics.limited.inc({ limit: "misses" }) },
    draining,
    clock,
    failed: (error) => log.error({ err: error }, "a manifest that was served could not be stored"),
    ...(access && { access }),
  });
  await mirror.tidy();
  const warming = new Warming({
    settings: config.warm,
    mirror,
    catalog,
    fills,
    space: eviction.space,
    routing,
    buckets,
    pins: eviction.pins,
    table: state.warmJobs,
    log,
    metrics,
    draining,
    clock,
  });
  open.defer(() => warming.close());
  await warming.load();

  // The listeners
  const common = { config, mirror, routing, buckets, eviction, log, metrics, clock };
  registry = await openRegistryServer(
    { ...common, tls: tls.of("registry"), identities, observability, output },
    open,
  );
  const { warmer } = warming;
  const status = await openStatusServer(
    { ...common, tls: tls.of("status"), connected, policyEvents, warmer, ledger, upkeep, draining },
    open,
  );
  log.info(
    {
      registry: registry.url,
      status: status.url,
      upstreams: [...connected.keys()],
      storage: resolve(config.storage.root),
    },
    "serving",
  );

  // Background work
  eviction.start();
  const { isAuditFailing } = observability;
  open.defer(openAlerts(config, { connected, health, metrics, isAuditFailing, clock }, log));
  warming.start();
  const upkeepRun = upkeep.run(draining);
  open.defer(clock.every(minuteMs, () => void saveBuckets(connected)));
  await shutdown.requested;

  // Clients have their time, and then everything is closed.
  const { grace } = config.shutdown;
  log.info({ graceMs: grace }, "draining");
  await Promise.all([registry.close(grace), Promise.race([fills.idle(), clock.sleep(grace)])]);
  await mirror.stored();
  await upkeepRun;
  await open.disposeAsync();
  log.info("stopped");
}
