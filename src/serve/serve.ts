/** The composition root: from a configuration to a running mirror, and back to nothing when it is told to stop. */
import { resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { Config } from "../config/load.ts";
import { closeUpstreams, openUpstreams, mirrorUpstreams, saveBuckets } from "./upstreams.ts";
import { openPolicy } from "./policy.ts";
import { openAccess } from "./access.ts";
import { openRegistryServer, openStatusServer, type RegistryServer } from "./servers.ts";
import { openEviction } from "./cache.ts";
import { Mirror } from "../mirror/mirror.ts";
import { openObservers } from "./observability.ts";
import { openTls } from "./tls.ts";
import { ShutdownSignal } from "./shutdown.ts";
import { Intake } from "../store/fill/intake.ts";
import { Store } from "../store/open.ts";
import { openLog, openOutput, type Output } from "../telemetry/log.ts";
import { Metrics } from "../telemetry/metrics.ts";
import { storageEvents } from "../telemetry/storage.ts";
import { Warming } from "./warming.ts";

/** How often buckets are told to write down where they stand. */
const minuteMs = 60_000;

/** What tests replace. */
export interface Surroundings {
  /** Default: SIGTERM and SIGINT. */
  readonly stop?: Pick<ShutdownSignal, "signal" | "asked">;
  /** Where the log goes. Default standard output. */
  readonly output?: Output;
}

/** Serves until it is stopped, and settles when the downloads that were running have ended. */
export async function serve(config: Config, surroundings: Surroundings = {}): Promise<void> {
  const { output = openOutput() } = surroundings;
  // Everything that was opened is closed in reverse, after a start that failed half-way too.
  await using open = new AsyncDisposableStack();
  const log = openLog(config.log.level, output);
  const metrics = new Metrics();
  const { root } = config.storage;
  const routing = {
    upstreams: new Set(Object.keys(config.upstreams)),
    defaultUpstream: config.defaultUpstream,
  };
  const tls = await openTls(config, log, metrics);
  open.defer(() => tls.close());
  const observers = await openObservers(config, log, metrics);
  open.defer(() => observers.close());

  // What is held.
  let clients: RegistryServer | undefined = undefined;
  const told = storageEvents(log, metrics);
  const events = {
    ...told,
    replaced: (aside: string, error: unknown) => {
      told.replaced(aside, error);
      clients?.renew();
    },
  };
  const storage = await Store.open({ ...config.storage, events });
  open.defer(() => storage.close());
  const { blobs, catalog, fills, custody, health, ledger } = storage;
  const keeper = await openEviction(config, storage, routing, open, log, metrics);

  // What others hold, and what may be spent there.
  const connected = await openUpstreams(config, ledger, log, metrics);
  open.defer(() => closeUpstreams(connected));
  const buckets = new Map([...connected].map(([name, { bucket }]) => [name, bucket]));

  // Who may pull what, and what is done about it.
  const doors = await openAccess(config, connected, storage.state, log);
  open.defer(() => doors.close());
  const { access, identities } = doors;
  const freshness = {
    tagTtlMs: config.freshness.tagTtl,
    staleIfErrorMs: config.freshness.staleIfError,
    lowTtlFactor: config.quota.lowTtlFactor,
  };
  const { stop = new ShutdownSignal() } = surroundings;
  const { policy, policyEvents } = await openPolicy(config, storage, log, metrics);
  const mirror = new Mirror({
    upstreams: mirrorUpstreams(connected, config),
    blobs,
    fills,
    catalog,
    reconciler: custody,
    intake: new Intake({ blobs, fills, health, room: keeper.room }),
    health,
    used: (repository, digest) => keeper.uses.note(repository, digest),
    freshness,
    metrics,
    policy,
    misses: { ...config.limits.misses, reached: () => metrics.limited.inc({ limit: "misses" }) },
    draining: stop.signal,
    ...(access && { access }),
  });
  await mirror.tidy();
  const warming = new Warming({
    settings: config.warm,
    mirror,
    catalog,
    fills,
    room: keeper.room,
    routing,
    buckets,
    pins: keeper.pins,
    table: storage.state.warmJobs,
    log,
    metrics,
    draining: stop.signal,
  });
  open.defer(() => warming.close());
  await warming.load();

  // The two faces: one for clients, one for operators.
  const common = { config, mirror, routing, buckets, keeper, log, metrics };
  const forClients = { ...common, tls: tls.of("registry"), identities, observers, output };
  clients = await openRegistryServer(forClients, open);
  const operators = await openStatusServer(
    {
      ...common,
      tls: tls.of("status"),
      connected,
      ledger,
      policyEvents,
      warmer: warming.warmer,
      storage,
      draining: stop.signal,
    },
    open,
  );
  log.info(
    {
      registry: clients.url,
      status: operators.url,
      upstreams: [...connected.keys()],
      storage: resolve(root),
    },
    "serving",
  );

  // All is open: from here on it works by itself, until it is told to stop.
  keeper.start();
  observers.alarm({ connected, disk: health });
  warming.start();
  const caring = storage.care(stop.signal);
  const tending = setInterval(() => void saveBuckets(connected), minuteMs);
  await stop.asked;

  // Readers have their time, and then everything is closed.
  const { grace } = config.shutdown;
  log.info({ graceMs: grace }, "draining");
  await Promise.all([
    clients.close(grace),
    Promise.race([fills.idle(), pause(grace, undefined, { ref: false })]),
  ]);
  clearInterval(tending);
  await caring;
  await open.disposeAsync();
  log.info("stopped");
}
