/** Opens the configured upstreams, each with its credential, its bucket and its alternates. */
import type { Clock } from "../async/clock.ts";
import type { Config } from "../config/load.ts";
import type { MirrorUpstream } from "../mirror/context.ts";
import { openBucket, type QuotaBucket } from "../quota/bucket.ts";
import type { Ledger } from "../quota/ledger.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { openCredential } from "../upstream/auth/credentials.ts";
import { Registry } from "../upstream/registry.ts";
import type { QuotaEvent } from "../quota/events.ts";
import { stateMeanings, type RehearsalMode, type Snapshot, type BucketState } from "../quota/snapshot.ts";

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
    const credential = settings.credential && (await openCredential(settings.credential, url, clock));
    const { limit, window: windowMs } = quota;
    const bucket = await openBucket({
      upstream: name,
      ...(credential && { account: credential.account }),
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
      return [name, { registry, quota: bucket, whenExhausted, alternates: others }];
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

const states: readonly BucketState[] = ["ok", "low", "reserve", "exhausted", "unlimited", "unknown"];

const rehearsals: readonly RehearsalMode[] = ["empty", "down"];

/** Logs and counts every event of `bucket`, and sets its gauges whenever metrics are read. */
export function reportQuotaEvents(bucket: QuotaBucket, log: Log, metrics: Metrics): void {
  bucket.on((event) => {
    record(event, metrics);
    logEvent(event, bucket, log);
  });
  metrics.beforeReading(() => show(bucket.snapshot(), metrics));
}

function record(event: QuotaEvent, metrics: Metrics): void {
  const { upstream } = event;
  if (event.type === "granted") metrics.quotaWait.observe({ upstream }, event.waitedMs / 1000);
  if (event.type === "spent") metrics.quotaSpent.inc({ upstream, reason: event.reason }, event.cost);
  if (event.type === "refused") metrics.quotaRefused.inc({ upstream, reason: event.reason });
}

function logEvent(event: QuotaEvent, bucket: QuotaBucket, log: Log): void {
  const { type, upstream } = event;
  if (type === "state") {
    const { account, remaining, limit, nextFreeAt } = bucket.snapshot();
    const { from, to } = event;
    const isBad = to === "low" || to === "reserve" || to === "exhausted";
    const fields = { upstream, account, from, to, remaining, limit, nextFreeAt };
    log[isBad ? "warn" : "info"](fields, `quota of ${upstream} is ${to}: ${stateMeanings[to]}`);
  } else if (type === "refused") {
    const { kind, reason, client, repository, retryAfter, message } = event;
    log.warn({ upstream, kind, reason, client, repository, retryAfter }, message);
  } else if (type === "ledger-failed") {
    log.error({ upstream, err: event.error }, "the ledger cannot be written");
  }
}

function show(snapshot: Snapshot, metrics: Metrics): void {
  const { name: upstream, account, state, limit, remaining, reserve, emptyAt, saved, rehearsal } = snapshot;
  const labels = { upstream, account };
  for (const each of states) metrics.quotaState.set({ ...labels, state: each }, each === state ? 1 : 0);
  for (const mode of rehearsals) metrics.rehearsal.set({ ...labels, mode }, mode === rehearsal?.mode ? 1 : 0);
  const shown = [
    [metrics.quotaLimit, limit],
    [metrics.quotaRemaining, remaining],
    [metrics.quotaReserve, reserve],
    [metrics.quotaEmptyAt, emptyAt === null ? null : Date.parse(emptyAt) / 1000],
  ] as const;
  for (const [gauge, value] of shown) {
    // An unknown gauge is left out: zero would say that nothing is left.
    if (value === null) gauge.remove(labels);
    else gauge.set(labels, value);
  }
  const counted = [
    [metrics.quotaSavedPulls, saved.pulls],
    [metrics.quotaSavedBytes, saved.bytes],
  ] as const;
  for (const [counter, value] of counted) {
    // The ledger counts, over all restarts; here its sum is only shown.
    counter.remove(labels);
    counter.inc(labels, value);
  }
}
