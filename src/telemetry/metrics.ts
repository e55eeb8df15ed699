/** All metrics of Hubcap. metricHelp.ts says what each means. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import { Failures } from "./failures.ts";
import { History } from "./history.ts";
import { metricHelp } from "./metricHelp.ts";

type Name = keyof typeof metricHelp;

/** From a held manifest to a large layer, in seconds. */
const durations = [0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 20, 60, 300];

/** From a minute to a month, in seconds. */
const ages = [60, 600, 3600, 6 * 3600, 86_400, 7 * 86_400, 30 * 86_400];

interface CacheTotals {
  readonly bytes: number;
  readonly blobs: number;
  readonly manifests: number;
}

/** The process's metrics. Label values come from fixed sets or from the configuration, never from a client. */
export class Metrics {
  readonly registry = new Registry();
  /** For the page: what Prometheus would keep otherwise. */
  readonly history = new History();
  readonly failures = new Failures();
  readonly #registers = [this.registry];
  #databases: () => Promise<Readonly<Record<string, number>>> = async () => ({});
  #cache: () => Promise<CacheTotals> = async () => ({ bytes: 0, blobs: 0, manifests: 0 });

  // Their texts are in metricHelp.ts, in the same order.

  // Requests of clients
  readonly requests = this.#counter("hubcap_requests_total", ["upstream", "kind", "outcome"]);
  readonly requestSeconds = this.#histogram("hubcap_request_seconds", ["kind", "outcome"], durations);
  readonly servedBytes = this.#counter("hubcap_served_bytes_total", ["upstream", "outcome"]);
  readonly staleServed = this.#counter("hubcap_stale_served_total", ["upstream", "reason"]);
  readonly staleAge = this.#histogram("hubcap_stale_age_seconds", ["upstream"], ages);
  readonly bypasses = this.#counter("hubcap_bypass_total", ["upstream", "reason"]);
  readonly policyRefusals = this.#counter("hubcap_policy_refused_total", ["upstream", "reason"]);
  readonly immutableMoves = this.#counter("hubcap_immutable_tag_moves_total", ["upstream"]);

  // Upstreams
  readonly upstreamRequests = this.#counter("hubcap_upstream_requests_total", ["upstream", "kind", "status"]);
  readonly upstreamSeconds = this.#histogram("hubcap_upstream_seconds", ["upstream", "kind"], durations);
  readonly upstreamCertificateExpiry = this.#gauge("hubcap_upstream_certificate_expiry_seconds", [
    "upstream",
  ]);
  readonly fetchedBytes = this.#counter("hubcap_fetched_bytes_total", ["upstream"]);
  readonly fills = this.#gauge("hubcap_fills_running");
  readonly fillFailures = this.#counter("hubcap_fill_failures_total", ["upstream", "reason"]);

  // The store
  readonly cacheBytes = this.#sum("hubcap_cache_bytes", "bytes");
  readonly cacheCapacity = this.#gauge("hubcap_cache_capacity_bytes");
  readonly cacheBlobs = this.#sum("hubcap_cache_blobs", "blobs");
  readonly cacheManifests = this.#sum("hubcap_cache_manifests", "manifests");
  readonly databaseBytes = this.#databaseBytes();
  readonly forgottenRows = this.#counter("hubcap_database_rows_forgotten_total", ["table"]);
  readonly evictedBytes = this.#counter("hubcap_cache_evicted_bytes_total", ["reason"]);
  readonly quarantined = this.#counter("hubcap_quarantined_total", ["reason"]);
  readonly scrubbedBytes = this.#counter("hubcap_scrubbed_bytes_total");
  readonly catalogsReplaced = this.#counter("hubcap_catalogs_replaced_total");
  readonly statesReplaced = this.#counter("hubcap_states_replaced_total");
  readonly degraded = this.#gauge("hubcap_storage_degraded", ["reason"]);

  // Quota
  readonly quotaLimit = this.#gauge("hubcap_quota_limit", ["upstream", "account"]);
  readonly quotaRemaining = this.#gauge("hubcap_quota_remaining", ["upstream", "account"]);
  readonly quotaReserve = this.#gauge("hubcap_quota_reserve", ["upstream", "account"]);
  readonly quotaEmptyAt = this.#gauge("hubcap_quota_empty_at_seconds", ["upstream", "account"]);
  readonly quotaSavedPulls = this.#counter("hubcap_quota_saved_pulls_total", ["upstream", "account"]);
  readonly quotaSavedBytes = this.#counter("hubcap_quota_saved_bytes_total", ["upstream", "account"]);
  readonly quotaState = this.#gauge("hubcap_quota_state", ["upstream", "account", "state"]);
  readonly quotaSpent = this.#counter("hubcap_quota_spent_total", ["upstream", "reason"]);
  readonly quotaRefused = this.#counter("hubcap_quota_refused_total", ["upstream", "reason"]);
  readonly quotaWait = this.#histogram("hubcap_quota_wait_seconds", ["upstream"], durations);
  readonly rehearsal = this.#gauge("hubcap_rehearsal", ["upstream", "account", "mode"]);

  // Warming
  readonly warmImages = this.#counter("hubcap_warm_images_total", ["upstream", "result"]);
  readonly warmBytes = this.#counter("hubcap_warm_bytes_total", ["upstream"]);
  readonly warmJobs = this.#gauge("hubcap_warm_jobs", ["state"]);
  readonly clusterLists = this.#counter("hubcap_cluster_lists_total", ["result"]);

  // Listeners, limits, the audit log and alerts
  readonly certificateExpiry = this.#gauge("hubcap_certificate_expiry_seconds", ["listener"]);
  readonly certificateRefused = this.#gauge("hubcap_certificate_refused", ["listener"]);
  readonly tlsFailures = this.#counter("hubcap_tls_failures_total", ["listener"]);
  readonly limited = this.#counter("hubcap_limited_total", ["limit"]);
  readonly workerRestarts = this.#counter("hubcap_worker_restarts_total");
  readonly auditLost = this.#counter("hubcap_audit_lost_lines_total");
  readonly alertsSent = this.#counter("hubcap_alert_messages_total", ["event", "result"]);

  readonly #refreshes: (() => void)[] = [];

  constructor() {
    collectDefaultMetrics({ register: this.registry });
  }

  /** Calls `totals` for the cache's sums, and `databases` for the bytes of each, whenever metrics are read. */
  watchCache(
    totals: () => Promise<CacheTotals>,
    databases: () => Promise<Readonly<Record<string, number>>>,
    capacity: number,
  ): void {
    this.#cache = totals;
    this.#databases = databases;
    this.cacheCapacity.set(capacity);
  }

  /** The share of pulled manifests and blobs that needed no new download, since the start; undefined before the first. */
  async hitRatio(): Promise<number | undefined> {
    let all = 0;
    let held = 0;
    for (const { labels, value } of (await this.requests.get()).values) {
      if ((labels.kind !== "manifest" && labels.kind !== "blob") || labels.outcome === "error") continue;
      all += value;
      if (labels.outcome !== "miss") held += value;
    }
    return all === 0 ? undefined : held / all;
  }

  /** The sums of a counter, by the values of `label`; without one, a single sum under `storage`. */
  async sums<Label extends string>(counter: Counter<Label>, label?: Label): Promise<Map<string, number>> {
    const sums = new Map<string, number>();
    for (const { labels, value } of (await counter.get()).values) {
      const key = label === undefined ? "storage" : String(labels[label]);
      sums.set(key, (sums.get(key) ?? 0) + value);
    }
    return sums;
  }

  /** Calls `refresh`, which sets gauges, each time before metrics are read. */
  beforeReading(refresh: () => void): void {
    this.#refreshes.push(refresh);
  }

  /** Everything, in Prometheus' text format. */
  read(): Promise<string> {
    this.#refresh();
    return this.registry.metrics();
  }

  /** Sets the gauges that are only set when metrics are read. */
  #refresh(): void {
    for (const refresh of this.#refreshes) refresh();
  }

  #counter<Label extends string = never>(name: Name, labelNames: readonly Label[] = []): Counter<Label> {
    return new Counter({ name, help: metricHelp[name], labelNames, registers: this.#registers });
  }

  #gauge<Label extends string = never>(name: Name, labelNames: readonly Label[] = []): Gauge<Label> {
    return new Gauge({ name, help: metricHelp[name], labelNames, registers: this.#registers });
  }

  /** A gauge that reads the cache's sums whenever it is read. */
  #sum(name: Name, of: keyof CacheTotals): Gauge<never> {
    const totals = (): Promise<CacheTotals> => this.#cache();
    return new Gauge({
      name,
      help: metricHelp[name],
      registers: this.#registers,
      async collect() {
        this.set((await totals())[of]);
      },
    });
  }

  #databaseBytes(): Gauge<"file"> {
    const databases = (): Promise<Readonly<Record<string, number>>> => this.#databases();
    return new Gauge({
      name: "hubcap_database_bytes" satisfies Name,
      help: metricHelp.hubcap_database_bytes,
      labelNames: ["file"],
      registers: this.#registers,
      async collect() {
        for (const [file, bytes] of Object.entries(await databases())) this.set({ file }, bytes);
      },
    });
  }

  #histogram<Label extends string>(
    name: Name,
    labelNames: readonly Label[],
    buckets: number[],
  ): Histogram<Label> {
    return new Histogram({ name, help: metricHelp[name], labelNames, buckets, registers: this.#registers });
  }
}
