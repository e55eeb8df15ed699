/** Opens the configured upstreams, each with its credential, its bucket and its alternates. */
import type { Clock } from "../async/clock.ts";
import { reportQuotaEvents } from "./quotaEvents.ts";
import type { Config } from "../config/load.ts";
import type { MirrorUpstream } from "../mirror/alternates.ts";
import { openBucket, type QuotaBucket } from "../quota/bucket.ts";
import type { Ledger } from "../quota/ledger.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { openCredential } from "../upstream/auth/credentials.ts";
import { anonymous } from "../upstream/auth/credential.ts";
import { Registry } from "../upstream/registry.ts";

/** An upstream that pulls can be made from. */
export interface OpenUpstream {
  readonly registry: Registry;
  readonly bucket: QuotaBucket;
}

/** Opens all upstreams, by source host, with their buckets as the last process left them. */
export async function openUpstreams(
  config: Config,
  ledger: Ledger,
  log: Log,
  metrics: Metrics,
  clock: Clock,
): Promise<ReadonlyMap<string, OpenUpstream>> {
  const connected = new Map<string, OpenUpstream>();
  for (const [name, settings] of Object.entries(config.upstreams)) {
    const { url, tokenRealms, allowPrivateAddresses, ca, timeouts, quota } = settings;
    const credential = await openCredential(settings.credential, url, clock);
    const { limit, window: windowMs } = quota;
    const bucket = await openBucket({
      upstream: name,
      ...(credential !== anonymous && { account: credential.account }),
      ...(limit !== undefined && windowMs !== undefined && { quota: { limit, windowMs } }),
      ...(quota.minInterval !== undefined && { minIntervalMs: quota.minInterval }),
      reserve: quota.reserve,
      low: config.quota.low,
      ...(config.quota.perClient !== undefined && { perClient: config.quota.perClient }),
      maxWaitMs: quota.maxWait,
      concurrency: quota.concurrency,
      ledger,
      clock,
    });
    reportQuotaEvents(bucket, log, metrics);
    const registry = new Registry({
      name,
      url,
      tokenRealms,
      allowPrivateAddresses,
      ...(ca !== undefined && { ca }),
      credential,
      timeouts: {
        connectMs: timeouts.connect,
        headersMs: timeouts.headers,
        blobHeadersMs: timeouts.headers,
        stallMs: timeouts.stall,
      },
      bucket,
      observe: ({ kind, status, ms }) => {
        metrics.upstreamRequests.inc({ upstream: name, kind, status });
        metrics.upstreamSeconds.observe({ upstream: name, kind }, ms / 1000);
      },
      onCertificate: (notAfter) =>
        metrics.upstreamCertificateExpiry.set({ upstream: name }, Math.floor(notAfter / 1000)),
      clock,
    });
    connected.set(name, { registry, bucket });
  }
  return connected;
}

/** The upstreams as the mirror sees them, with their alternates. */
export function mirrorUpstreams(
  connected: ReadonlyMap<string, OpenUpstream>,
  config: Config,
): ReadonlyMap<string, MirrorUpstream> {
  return new Map(
    [...connected].map(([name, { registry, bucket }]) => {
      const { whenExhausted = "hold", alternates = [] } = config.upstreams[name] ?? {};
      const others = alternates.flatMap((other) => connected.get(other)?.registry ?? []);
      return [name, { upstream: registry, quota: bucket, whenExhausted, alternates: others }];
    }),
  );
}

/** Saves all buckets. */
export async function saveBuckets(connected: ReadonlyMap<string, OpenUpstream>): Promise<void> {
  await Promise.all([...connected.values()].map(({ bucket }) => bucket.maintain()));
}

/** Ends all connections to upstreams, and saves their buckets. */
export async function closeUpstreams(connected: ReadonlyMap<string, OpenUpstream>): Promise<void> {
  await Promise.all([...connected.values()].map(({ registry }) => registry.close()));
  await Promise.all([...connected.values()].map(({ bucket }) => bucket.close()));
}
