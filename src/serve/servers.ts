/** Opens the servers: the registry listener, with the workers beside it, and the status listener. */
import type { Env, Hono } from "hono";
import type { Clock } from "../async/clock.ts";
import type { Config } from "../config/load.ts";
import type { StatusApiOptions } from "../http/api/api.ts";
import type { Identities } from "../http/identity.ts";
import { UnreadBytes } from "../http/reply.ts";
import { StreamLimit, type ConnectionLimit, type ConnectionLimits } from "../http/limits.ts";
import { listen, type Listener, type Tls } from "../http/listen.ts";
import { statusPage } from "../http/page/page.ts";
import { registryListener } from "../http/registry.ts";
import { inTurns, requestSums } from "../http/requestRecord.ts";
import { handlerOf, statusListener } from "../http/status.ts";
import type { Mirror } from "../mirror/mirror.ts";
import type { Warmer } from "../mirror/warm.ts";
import type { Routing } from "../oci/target.ts";
import type { QuotaBucket } from "../quota/bucket.ts";
import type { Ledger } from "../quota/ledger.ts";
import type { Eviction } from "../store/evict/eviction.ts";
import type { Degraded } from "../store/health.ts";
import type { Upkeep } from "../store/repair/upkeep.ts";
import type { Log, Output } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Observability } from "./observability.ts";
import type { OpenUpstream } from "./upstreams.ts";
import { Workers } from "./workers.ts";

/** What both servers need. */
interface ServerOptions {
  readonly config: Config;
  readonly mirror: Mirror;
  readonly routing: Routing;
  readonly buckets: ReadonlyMap<string, QuotaBucket>;
  readonly eviction: Eviction;
  readonly tls: Tls | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

export interface RegistryServerOptions extends ServerOptions {
  readonly identities: Identities | undefined;
  readonly observability: Observability;
  /** Where the lines of the workers' logs are written. */
  readonly output: Output;
}

export interface RegistryServer extends Pick<Listener, "url" | "close"> {
  /** Restarts the workers, so that they open the store anew. */
  restartWorkers(): void;
}

/** Serves clients here and in the configured number of workers, until `open` is disposed of. */
export async function openRegistryServer(
  options: RegistryServerOptions,
  open: AsyncDisposableStack,
): Promise<RegistryServer> {
  const { config, buckets, eviction, log, metrics, clock } = options;
  const { identities, observability } = options;
  const { tracing, audit } = observability;
  const registry = {
    mirror: options.mirror,
    routing: options.routing,
    log,
    sums: inTurns(requestSums(metrics, buckets)),
    failures: metrics.failures,
    buckets,
    stallMs: config.registry.stall,
    streams: new StreamLimit(config.limits.streamsPerClient, () => metrics.limited.inc({ limit: "streams" })),
    unread: new UnreadBytes(() => metrics.limited.inc({ limit: "unread" })),
    clock,
    ...(tracing && { tracing }),
    ...(audit && { audit }),
    ...(identities && { identities }),
  };
  const isShared = config.workers > 1;
  const address = { ...config.registry.listen, isShared };
  const listener = await listen(registryListener(registry), address, limitsOf(options), clock, options.tls);
  open.defer(() => listener.close(0));
  const { url, port } = listener;
  let workers: Workers | undefined;
  if (isShared) {
    workers = await Workers.open({
      config,
      address: { ...address, port },
      registry,
      used: (repository, digest, times) => eviction.uses.note(repository, digest, times),
      metrics,
      output: options.output,
      clock,
    });
  }
  open.defer(() => workers?.close(0));
  return {
    url,
    restartWorkers: () => workers?.restart(),
    close: async (graceMs) => {
      await Promise.all([listener.close(graceMs), workers?.close(graceMs)]);
    },
  };
}

export interface StatusServerOptions extends ServerOptions {
  readonly connected: ReadonlyMap<string, OpenUpstream>;
  readonly policyEvents: StatusApiOptions["policyEvents"];
  readonly warmer: Warmer;
  readonly ledger: Ledger;
  readonly upkeep: Pick<Upkeep, "fills" | "health">;
  readonly draining: AbortSignal;
}

/** Serves operators until `open` is disposed of, also while clients' connections drain. */
export async function openStatusServer(
  options: StatusServerOptions,
  open: AsyncDisposableStack,
): Promise<Pick<Listener, "url">> {
  const { config, mirror, routing, buckets, eviction, tls, log, metrics, clock } = options;
  const { connected, ledger, policyEvents, warmer, draining } = options;
  const { fills, health } = options.upkeep;
  const unready = (): string | undefined => (draining.aborted ? "draining" : undefined);
  const degraded = (): Degraded | undefined => health.degraded ?? health.unproven;
  const shown = { ledger, mirror, routing, eviction, log, clock };
  const api = async (): Promise<Hono<Env>> => {
    const { statusApi } = await import("../http/api/api.ts");
    return statusApi({
      ...shown,
      buckets,
      policyEvents,
      hitRatio: () => metrics.hitRatio(),
      warmer,
      warmPlatforms: config.warm.platforms,
      adminToken: config.admin.token,
    });
  };
  const page = statusPage({
    ...shown,
    upstreams: connected,
    fills,
    metrics,
    degraded: () => degraded()?.text,
  });
  const unread = new UnreadBytes(() => metrics.limited.inc({ limit: "unread" }));
  const handle = handlerOf(statusListener({ metrics, unready, degraded, api, page }), unread);
  const status = await listen(handle, config.status.listen, limitsOf(options), clock, tls);
  open.defer(() => status.close(0));
  return status;
}

/** The limits on the connections of each listener. */
function limitsOf({ config, metrics }: Pick<ServerOptions, "config" | "metrics">): ConnectionLimits {
  const { connections, connectionsPerAddress: perAddress } = config.limits;
  const reached = (limit: ConnectionLimit): void => metrics.limited.inc({ limit });
  return { connections, perAddress, stallMs: config.registry.stall, reached };
}
