/** Everything Hubcap counts, in one place, under the names that docs/operations.md explains. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import { Failures } from "./failures.ts";
import { History } from "./history.ts";

/** From a cached manifest to a large layer, in seconds. */
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
  /** For the page alone: what Prometheus keeps for those who have it. */
  readonly history = new History();
  readonly failures = new Failures();
  readonly #registers = [this.registry];
  #cache: () => Promise<CacheTotals> = async () => ({ bytes: 0, blobs: 0, manifests: 0 });

  readonly requests = new Counter({
    name: "hubcap_requests_total",
    help: "Requests of clients, by source host, what was asked for and how it was answered",
    labelNames: ["upstream", "kind", "outcome"] as const,
    registers: this.#registers,
  });
  readonly requestSeconds = new Histogram({
    name: "hubcap_request_seconds",
    help: "Time until the last byte of an answer was handed to the client's connection",
    labelNames: ["kind", "outcome"] as const,
    buckets: durations,
    registers: this.#registers,
  });
  readonly servedBytes = new Counter({
    name: "hubcap_served_bytes_total",
    help: "Bytes of manifests and blobs sent to clients",
    labelNames: ["upstream", "outcome"] as const,
    registers: this.#registers,
  });
  readonly fetchedBytes = new Counter({
    name: "hubcap_fetched_bytes_total",
    help: "Bytes of manifests and blobs received from upstreams",
    labelNames: ["upstream"] as const,
    registers: this.#registers,
  });
  readonly staleServed = new Counter({
    name: "hubcap_stale_served_total",
    help: "Answers served although the upstream could not confirm them, by reason",
    labelNames: ["upstream", "reason"] as const,
    registers: this.#registers,
  });
  readonly staleAge = new Histogram({
    name: "hubcap_stale_age_seconds",
    help: "How long ago the upstream last confirmed what was served stale",
    labelNames: ["upstream"] as const,
    buckets: ages,
    registers: this.#registers,
  });
  readonly fills = new Gauge({
    name: "hubcap_fills_running",
    help: "Blobs on their way in",
    registers: this.#registers,
  });
  readonly fillFailures = new Counter({
    name: "hubcap_fill_failures_total",
    help: "Blobs that did not come in: the bytes were wrong (corrupt), did not arrive (broken) or were not taken by the disk",
    labelNames: ["upstream", "reason"] as const,
    registers: this.#registers,
  });
  readonly bypasses = new Counter({
    name: "hubcap_bypass_total",
    help: "Manifests and blobs that passed through without being stored, because the disk was full or failing",
    labelNames: ["upstream", "reason"] as const,
    registers: this.#registers,
  });
  readonly degraded = new Gauge({
    name: "hubcap_storage_degraded",
    help: "1 while nothing is stored because the disk is full or failing",
    labelNames: ["reason"] as const,
    registers: this.#registers,
  });
  readonly quarantined = new Counter({
    name: "hubcap_quarantined_total",
    help: "Blobs that were taken out of service: their bytes or their size were wrong, or they were unreadable",
    labelNames: ["reason"] as const,
    registers: this.#registers,
  });
  readonly scrubbedBytes = new Counter({
    name: "hubcap_scrubbed_bytes_total",
    help: "Bytes of held blobs that were read again to see that they have not rotted",
    registers: this.#registers,
  });
  readonly catalogsReplaced = new Counter({
    name: "hubcap_catalogs_replaced_total",
    help: "Catalogs that were set aside because they were damaged",
    registers: this.#registers,
  });
  readonly upstreamRequests = new Counter({
    name: "hubcap_upstream_requests_total",
    help: "Requests to upstreams, by kind and status; status is `error` when no answer came",
    labelNames: ["upstream", "kind", "status"] as const,
    registers: this.#registers,
  });
  readonly upstreamSeconds = new Histogram({
    name: "hubcap_upstream_seconds",
    help: "Time until an upstream's answer began",
    labelNames: ["upstream", "kind"] as const,
    buckets: durations,
    registers: this.#registers,
  });
  readonly upstreamCertificateExpiry = new Gauge({
    name: "hubcap_upstream_certificate_expiry_seconds",
    help: "When the first certificate ends that the upstream's registry and token service showed last, in seconds since the epoch",
    labelNames: ["upstream"] as const,
    registers: this.#registers,
  });

  readonly cacheBytes = new Gauge({
    name: "hubcap_cache_bytes",
    help: "Bytes of manifests and blobs that are held",
    registers: this.#registers,
    collect: async () => {
      const { bytes, blobs, manifests } = await this.#cache();
      this.cacheBytes.set(bytes);
      this.cacheBlobs.set(blobs);
      this.cacheManifests.set(manifests);
    },
  });
  readonly cacheCapacity = new Gauge({
    name: "hubcap_cache_capacity_bytes",
    help: "Bytes that may be held",
    registers: this.#registers,
  });
  readonly cacheBlobs = new Gauge({
    name: "hubcap_cache_blobs",
    help: "Blobs that are held, manifests among them",
    registers: this.#registers,
  });
  readonly cacheManifests = new Gauge({
    name: "hubcap_cache_manifests",
    help: "Manifests that are held",
    registers: this.#registers,
  });
  readonly evictedBytes = new Counter({
    name: "hubcap_cache_evicted_bytes_total",
    help: "Bytes that were let go of: for room (capacity), by a rule (age, unused), named by no manifest (orphan), or on demand (removed)",
    labelNames: ["reason"] as const,
    registers: this.#registers,
  });

  readonly certificateExpiry = new Gauge({
    name: "hubcap_certificate_expiry_seconds",
    help: "When the certificate that a listener serves ends, in seconds since the epoch",
    labelNames: ["listener"] as const,
    registers: this.#registers,
  });
  readonly certificateRefused = new Gauge({
    name: "hubcap_certificate_refused",
    help: "1 while the files of a listener hold a certificate that cannot be served, so that an older one is",
    labelNames: ["listener"] as const,
    registers: this.#registers,
  });
  readonly tlsFailures = new Counter({
    name: "hubcap_tls_failures_total",
    help: "Connections that came to nothing before their first request, for want of TLS or of a client's certificate",
    labelNames: ["listener"] as const,
    registers: this.#registers,
  });
  readonly limited = new Counter({
    name: "hubcap_limited_total",
    help: "What a limit ended or refused: connections too many in all (connections) or from one address (address), readers that took nothing (stalled), blobs for one client (streams), and questions of a client that asks for too much that is not there (misses)",
    labelNames: ["limit"] as const,
    registers: this.#registers,
  });
  readonly policyRefusals = new Counter({
    name: "hubcap_policy_refused_total",
    help: "Requests that a rule refused: by name (denied), by tag (tag), or for the image's age, size, platform or signature; blobs of no allowed image (blob)",
    labelNames: ["upstream", "reason"] as const,
    registers: this.#registers,
  });
  readonly immutableMoves = new Counter({
    name: "hubcap_immutable_tag_moves_total",
    help: "Immutable tags that were found to mean something else upstream than they did first",
    labelNames: ["upstream"] as const,
    registers: this.#registers,
  });
  readonly auditLost = new Counter({
    name: "hubcap_audit_lost_lines_total",
    help: "Lines of the audit log that the disk did not take",
    registers: this.#registers,
  });
  readonly alertsSent = new Counter({
    name: "hubcap_alert_messages_total",
    help: "Messages to alert webhooks: taken (sent), not taken after all tries (failed), or too many at once (dropped)",
    labelNames: ["event", "result"] as const,
    registers: this.#registers,
  });
  readonly warmImages = new Counter({
    name: "hubcap_warm_images_total",
    help: "Images that were to be fetched ahead, by how that ended: held, failed, or left for want of quota",
    labelNames: ["upstream", "result"] as const,
    registers: this.#registers,
  });
  readonly warmBytes = new Counter({
    name: "hubcap_warm_bytes_total",
    help: "Bytes of configs and layers that were fetched ahead",
    labelNames: ["upstream"] as const,
    registers: this.#registers,
  });
  readonly warmJobs = new Gauge({
    name: "hubcap_warm_jobs",
    help: "Orders to fetch images ahead that have not ended, by state",
    labelNames: ["state"] as const,
    registers: this.#registers,
  });
  readonly clusterLists = new Counter({
    name: "hubcap_cluster_lists_total",
    help: "Attempts to list the images that the cluster's pods use, by result: ok or failed",
    labelNames: ["result"] as const,
    registers: this.#registers,
  });

  readonly quotaLimit = this.#quotaGauge("limit", "Pulls that the upstream allows in its window");
  readonly quotaRemaining = this.#quotaGauge("remaining", "Pulls that are left");
  readonly quotaReserve = this.#quotaGauge("reserve", "Pulls that only images that are not held may spend");
  readonly quotaEmptyAt = this.#quotaGauge(
    "empty_at_seconds",
    "When no pull will be left if the last hour goes on, in seconds since the epoch",
  );
  readonly quotaSavedPulls = this.#quotaGauge(
    "saved_pulls_total",
    "Pulls that were served without asking the upstream",
  );
  readonly quotaSavedBytes = this.#quotaGauge(
    "saved_bytes_total",
    "Bytes that were served without asking the upstream",
  );
  readonly quotaState = new Gauge({
    name: "hubcap_quota_state",
    help: "1 for the step of the ladder that the upstream's quota is on, 0 for the others",
    labelNames: ["upstream", "account", "state"] as const,
    registers: this.#registers,
  });
  readonly rehearsal = new Gauge({
    name: "hubcap_rehearsal",
    help: "1 for the outage of the upstream that an operator rehearses, 0 for the others",
    labelNames: ["upstream", "account", "mode"] as const,
    registers: this.#registers,
  });
  readonly quotaSpent = new Counter({
    name: "hubcap_quota_spent_total",
    help: "Pulls spent, by what they were spent for",
    labelNames: ["upstream", "reason"] as const,
    registers: this.#registers,
  });
  readonly quotaRefused = new Counter({
    name: "hubcap_quota_refused_total",
    help: "Requests that were not sent to the upstream for want of quota",
    labelNames: ["upstream", "reason"] as const,
    registers: this.#registers,
  });
  readonly quotaWait = new Histogram({
    name: "hubcap_quota_wait_seconds",
    help: "Time that requests to the upstream stood in line",
    labelNames: ["upstream"] as const,
    buckets: durations,
    registers: this.#registers,
  });
  readonly #refreshes: (() => void)[] = [];

  constructor() {
    collectDefaultMetrics({ register: this.registry });
  }

  /** Asks `totals` for the sums of the cache whenever the metrics are read. */
  watchCache(totals: () => Promise<CacheTotals>, capacity: number): void {
    this.#cache = totals;
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

  /** Has `refresh` set its gauges each time before metrics are read. */
  beforeReading(refresh: () => void): void {
    this.#refreshes.push(refresh);
  }

  /** Everything, in Prometheus' text format. */
  read(): Promise<string> {
    this.refresh();
    return this.registry.metrics();
  }

  /** Sets the gauges that are only set when somebody looks. */
  refresh(): void {
    for (const refresh of this.#refreshes) refresh();
  }

  #quotaGauge(name: string, help: string): Gauge<"upstream" | "account"> {
    return new Gauge({
      name: `hubcap_quota_${name}`,
      help,
      labelNames: ["upstream", "account"],
      registers: this.#registers,
    });
  }
}
