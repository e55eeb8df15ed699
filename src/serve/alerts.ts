/** Opens alerts: what is wrong is looked up every few seconds where it is known, and sent to webhooks when it changes. */
import { hostname } from "node:os";
import type { Clock } from "../async/clock.ts";
import type { AlertName } from "../config/alerts.ts";
import type { Config } from "../config/load.ts";
import type { Snapshot } from "../quota/snapshot.ts";
import type { Health } from "../store/health.ts";
import { Alerts, type Alert, type Hook } from "../telemetry/alerts.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { Webhook } from "../telemetry/webhook.ts";
import type { OpenUpstream } from "./upstreams.ts";

export interface AlertSources {
  readonly connected: ReadonlyMap<string, OpenUpstream>;
  readonly health: Pick<Health, "degraded">;
  readonly metrics: Metrics;
  /** Are lines of the audit log being lost? */
  readonly isAuditFailing: () => boolean;
  readonly clock: Clock;
}

export interface AlertChecksOptions extends AlertSources {
  readonly alerts: Alerts;
  /** Called with the reason when a check fails. */
  readonly failed: (error: unknown) => void;
}

const everyMs = 5_000;

const minuteMs = 60_000;

/** How long before a quota runs out there is an alert. */
const forecastMs = 60 * minuteMs;

/** How long before a certificate expires there is an alert. */
const certificateMs = 14 * 24 * 60 * minuteMs;

/** Events without an end of their own are resolved when they have not happened for so long. */
const quietMs = { "corrupt-blob": 60 * minuteMs, stale: 10 * minuteMs, "tag-moved": 60 * minuteMs } as const;

/** Sends alerts to the webhooks of the configuration until the returned function is called. */
export function openAlerts(config: Config, sources: AlertSources, log: Log): () => void {
  if (config.alerts.length === 0) return () => {};
  const hooks = config.alerts.map((settings, index) =>
    hookOf(settings, `alerts.${index}`, log, sources.metrics, sources.clock),
  );
  const stop = startAlertChecks({
    ...sources,
    alerts: new Alerts(hooks, hostname()),
    failed: (error) => log.error({ err: error }, "what is wrong cannot be looked up for alerts"),
  });
  return () => {
    stop();
    for (const { webhook } of hooks) webhook.close();
  };
}

/** Checks now and again until the returned function is called. */
export function startAlertChecks(options: AlertChecksOptions): () => void {
  const { alerts, connected, clock, failed } = options;
  const lastGrowth = new LastGrowth(clock);
  const check = async (): Promise<void> => {
    const current = [
      ...upstreamAlerts(options),
      ...ownAlerts(options),
      ...(await counterAlerts(options, lastGrowth)),
    ];
    alerts.report(current, clock.now());
  };
  let checking: Promise<void> | undefined;
  // One at a time, so that an older one never reports last.
  const run = (): void => {
    checking ??= check()
      .catch(failed)
      .finally(() => (checking = undefined));
  };
  const stopChecking = clock.every(everyMs, run);
  // A quota that runs out is reported at once.
  const stopListening = [...connected.values()].map(({ bucket }) =>
    bucket.on(({ type }) => type === "state" && setImmediate(run)),
  );
  run();
  return () => {
    stopChecking();
    for (const stop of stopListening) stop();
  };
}

function hookOf(
  { url, urlFile, format, on, minInterval: minIntervalMs }: Config["alerts"][number],
  name: string,
  log: Log,
  metrics: Metrics,
  clock: Clock,
): Hook & { readonly webhook: Webhook } {
  const webhook = new Webhook({
    // The schema of the configuration demands one of them.
    url: (url ?? urlFile)?.reveal() ?? "",
    format,
    clock,
    ended: ({ event, state, subject }, result, reason) => {
      metrics.alertsSent.inc({ event, result });
      // Named by its place in the configuration, since its address is a secret.
      if (reason !== undefined)
        log.warn({ webhook: name, event, state, subject, result, reason }, "an alert was not delivered");
    },
  });
  return { webhook, on, minIntervalMs };
}

function* upstreamAlerts({ connected, clock }: AlertChecksOptions): Generator<Alert> {
  for (const [subject, { bucket, registry }] of connected) {
    yield* quotaAlerts(subject, bucket.snapshot(), clock.now());
    if (registry.health.knownDown)
      yield alert("upstream-down", subject, `${subject} does not answer; what is held is still served.`);
  }
}

function* quotaAlerts(subject: string, snapshot: Snapshot, now: number): Generator<Alert> {
  const { state, remaining, limit, emptyAt, nextFreeAt } = snapshot;
  const left = `${remaining ?? 0} of ${limit ?? 0} pulls are left`;
  if (state === "low" || state === "reserve" || state === "exhausted")
    yield alert("quota-low", subject, `${left} at ${subject}.`);
  if (state === "exhausted")
    yield alert(
      "quota-exhausted",
      subject,
      `No pull is left at ${subject}${nextFreeAt === null ? "" : ` until ${nextFreeAt}`}; what is held is still served.`,
    );
  else if (emptyAt !== null && Date.parse(emptyAt) - now < forecastMs)
    yield alert(
      "quota-forecast",
      subject,
      `No pull will be left at ${subject} at ${emptyAt} if the last hour goes on; ${left}.`,
    );
}

function* ownAlerts({ health, isAuditFailing }: AlertChecksOptions): Generator<Alert> {
  if (health.degraded !== undefined)
    yield alert(
      "disk",
      "storage",
      `Degraded, since ${health.degraded.text}: what is held is served, everything else passes through.`,
    );
  if (isAuditFailing()) yield alert("audit", "audit.file", "Lines of the audit log are lost; pulls go on.");
}

/** What only counters and gauges show. */
async function counterAlerts(
  { metrics, clock }: AlertChecksOptions,
  lastGrowth: LastGrowth,
): Promise<Alert[]> {
  const stale = await metrics.sums(metrics.staleServed, "upstream");
  const alerts = [
    ...lastGrowth.recent(
      "stale",
      stale,
      (subject) => `Tags of ${subject} are served stale, since it does not answer or refuses.`,
    ),
    ...lastGrowth.recent(
      "corrupt-blob",
      await metrics.sums(metrics.quarantined),
      () =>
        "A held blob did not match its digest. It is in quarantine and will be fetched again with its next pull.",
    ),
    ...lastGrowth.recent(
      "tag-moved",
      await metrics.sums(metrics.immutableMoves, "upstream"),
      (subject) =>
        `An immutable tag means something else at ${subject} than it did first, which is still served. The log names the tag.`,
    ),
  ];
  for (const { subject, endsAt } of await certificateEnds(metrics)) {
    if (endsAt - clock.now() < certificateMs)
      alerts.push(
        alert(
          "certificate",
          subject,
          `The certificate of ${subject} ends at ${new Date(endsAt).toISOString()}.`,
        ),
      );
  }
  return alerts;
}

/** When certificates of listeners and upstreams expire (ms since the epoch), each named by the gauge's one label. */
async function certificateEnds({
  certificateExpiry,
  upstreamCertificateExpiry,
}: Metrics): Promise<{ readonly subject: string; readonly endsAt: number }[]> {
  const gauges = await Promise.all([certificateExpiry.get(), upstreamCertificateExpiry.get()]);
  return gauges.flatMap(({ values }) =>
    values.map(({ labels, value }) => ({ subject: Object.values(labels).join(" "), endsAt: value * 1000 })),
  );
}

/** When each counter was last seen to have grown. */
class LastGrowth {
  readonly #clock: Clock;
  readonly #seen = new Map<string, { readonly sum: number; readonly at: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  *recent(
    event: keyof typeof quietMs,
    sums: ReadonlyMap<string, number>,
    summary: (subject: string) => string,
  ): Generator<Alert> {
    for (const [subject, sum] of sums) {
      const key = `${event} ${subject}`;
      const last = this.#seen.get(key);
      if (sum > (last?.sum ?? 0)) this.#seen.set(key, { sum, at: this.#clock.now() });
      const at = this.#seen.get(key)?.at;
      if (at !== undefined && Math.abs(this.#clock.now() - at) < quietMs[event])
        yield alert(event, subject, summary(subject));
    }
  }
}

function alert(event: AlertName, subject: string, summary: string): Alert {
  return { event, subject, summary };
}
