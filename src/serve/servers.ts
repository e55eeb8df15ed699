/** The part of the composition that answers: the face for clients, with the workers beside it, and the one for operators. */
import type { Env, Hono } from "hono";
import type { Config } from "../config/load.ts";
import type { StatusApiOptions } from "../http/api/api.ts";
import type { Identities } from "../http/identity.ts";
import { StreamLimit, type ConnectionLimit, type ConnectionLimits } from "../http/limits.ts";
import { listen, type Listener, type Tls } from "../http/listen.ts";
import { statusPage } from "../http/page/page.ts";
import { registryListener } from "../http/registry.ts";
import { inTurns, requestSums } from "../http/requestSums.ts";
import { handlerOf, statusListener } from "../http/status.ts";
import type { Mirror } from "../mirror/mirror.ts";
import type { Warmer } from "../mirror/warm.ts";
import type { Routing } from "../oci/routing.ts";
import type { QuotaBucket } from "../quota/bucket.ts";
import type { Ledger } from "../quota/ledger.ts";
import type { Eviction } from "../store/evict/eviction.ts";
import type { Store } from "../store/open.ts";
import type { Log, Output } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Observers } from "./observability.ts";
import type { OpenUpstream } from "./upstreams.ts";
import { openWorkers, type Workers } from "./workers.ts";

/** What both faces need. */
interface FaceOptions {
  readonly config: Config;
  readonly mirror: Mirror;
  readonly routing: Routing;
  readonly buckets: ReadonlyMap<string, QuotaBucket>;
  readonly keeper: Eviction;
  readonly tls: Tls | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface RegistryServerOptions extends FaceOptions {
  readonly identities: Identities | undefined;
  readonly observers: Pick<Observers, "tracing" | "audit">;
  /** Where the lines of the workers' logs go. */
  readonly output: Output;
}

/** The face for clients, which answers. */
export interface RegistryServer extends Pick<Listener, "url" | "close"> {
  /** Has what other processes have open of the store be opened anew, which cuts those who read there. */
  renew(): void;
}

/** Answers clients, here and in as many workers as there shall be, until `open` is disposed of. */
export async function openRegistryServer(
  options: RegistryServerOptions,
  open: AsyncDisposableStack,
): Promise<RegistryServer> {
  const { config, mirror, routing, buckets, keeper, tls, log, metrics, identities, observers, output } =
    options;
  const face = {
    mirror,
    routing,
    log,
    sums: inTurns(requestSums(metrics, buckets)),
    failures: metrics.failures,
    buckets,
    stallMs: config.registry.stall,
    streams: new StreamLimit(config.limits.streamsPerClient, () => metrics.limited.inc({ limit: "streams" })),
    ...observers,
    ...(identities && { identities }),
  };
  const isShared = config.workers > 1;
  const address = { ...config.registry.listen, isShared };
  const registry = await listen(registryListener(face), address, limitsOf(options), tls);
  open.defer(() => registry.close(0));
  const { url, port } = registry;
  let workers: Workers | undefined;
  if (isShared) {
    const used = keeper.uses.note.bind(keeper.uses);
    workers = await openWorkers({ config, address: { ...address, port }, face, used, metrics, output });
  }
  open.defer(() => workers?.close(0));
  return {
    url,
    renew: () => workers?.renew(),
    close: async (graceMs) => {
      await Promise.all([registry.close(graceMs), workers?.close(graceMs)]);
    },
  };
}

export interface StatusServerOptions extends FaceOptions {
  readonly connected: ReadonlyMap<string, OpenUpstream>;
  readonly ledger: Ledger;
  readonly policyEvents: StatusApiOptions["policyEvents"];
  readonly warmer: Warmer;
  readonly storage: Pick<Store, "fills" | "health">;
  readonly draining: AbortSignal;
}

/** Answers operators, while clients are waited for too, until `open` is disposed of. */
export async function openStatusServer(
  options: StatusServerOptions,
  open: AsyncDisposableStack,
): Promise<Pick<Listener, "url">> {
  const { config, mirror, routing, buckets, keeper, tls, log, metrics } = options;
  const { connected, ledger, policyEvents, warmer, draining } = options;
  const { fills, health } = options.storage;
  const unready = (): string | undefined => (draining.aborted ? "draining" : undefined);
  const degraded = (): string | undefined => health.trouble && `the disk is ${health.trouble}`;
  const shown = { ledger, mirror, routing, keeper, log, now: Date.now };
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
  const page = statusPage({ ...shown, upstreams: connected, fills, metrics, degraded });
  const face = handlerOf(statusListener({ metrics, unready, degraded, api, page }));
  const status = await listen(face, config.status.listen, limitsOf(options), tls);
  open.defer(() => status.close(0));
  return status;
}

/** What clients of either face may ask of it. */
function limitsOf({ config, metrics }: Pick<FaceOptions, "config" | "metrics">): ConnectionLimits {
  const { connections, connectionsPerAddress: perAddress } = config.limits;
  const reached = (limit: ConnectionLimit): void => metrics.limited.inc({ limit });
  return { connections, perAddress, stallMs: config.registry.stall, reached };
}
