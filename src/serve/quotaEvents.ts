/** Reports what buckets do in the log and the metrics. */
import type { QuotaBucket } from "../quota/bucket.ts";
import type { QuotaEvent } from "../quota/events.ts";
import { stateMeanings, type RehearsalMode, type Snapshot, type BucketState } from "../quota/snapshot.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";

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
