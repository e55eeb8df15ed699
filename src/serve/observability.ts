/** The part of the composition that looks on: traces, the audit log and alert webhooks, each only where it is configured. */
import { hostname } from "node:os";
import { startAlertChecks, type AlertChecksOptions } from "./alertChecks.ts";
import type { Config } from "../config/load.ts";
import type { Secret } from "../config/secret.ts";
import { Alerts, type Hook } from "../telemetry/alerts.ts";
import { auditToFile, auditToStdout, type Audit } from "../telemetry/audit.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Tracing } from "../telemetry/tracing.ts";
import { Webhook } from "../telemetry/webhook.ts";
import packageJson from "../../package.json" with { type: "json" };

/** Who looks on. */
export interface Observers {
  readonly tracing?: Tracing;
  readonly audit?: Audit;
  /** Begins to send alerts. */
  alarm(house: Pick<AlertChecksOptions, "connected" | "disk">): void;
  /** Says what is left to say, for a bounded time. */
  close(): Promise<void>;
}

/** Opens what the configuration asks for. */
export async function openObservers(config: Config, log: Log, metrics: Metrics): Promise<Observers> {
  const tracing = await openTracing(config.tracing, log);
  const { audit, isFailing } = openAudit(config.audit, log, metrics);
  const webhooks: Webhook[] = [];
  let leave: (() => void) | undefined;
  return {
    ...(tracing && { tracing }),
    ...(audit && { audit }),
    alarm: (house) => {
      if (config.alerts.length === 0) return;
      const hooks = config.alerts.map((settings, index) => hookOf(settings, `alerts.${index}`, log, metrics));
      webhooks.push(...hooks.map(({ webhook }) => webhook));
      const alerts = new Alerts(hooks, hostname());
      leave = startAlertChecks({
        ...house,
        alerts,
        metrics,
        isAuditFailing: isFailing,
        failed: (error) => log.error({ err: error }, "alerts cannot be looked for"),
        now: Date.now,
      });
    },
    close: async () => {
      leave?.();
      for (const webhook of webhooks) webhook.close();
      await Promise.all([audit?.close(), tracing?.close()]);
    },
  };
}

async function openTracing(
  { endpoint, sampleRatio, headersFile = {} }: Config["tracing"],
  log: Log,
): Promise<Tracing | undefined> {
  if (endpoint === undefined) return undefined;
  // OpenTelemetry is a lot of code: whoever does not trace does not load it.
  const { openTracing } = await import("../telemetry/tracing.ts");
  const secrets: [string, Secret][] = Object.entries(headersFile);
  return openTracing({
    endpoint,
    sampleRatio,
    headers: Object.fromEntries(secrets.map(([name, value]) => [name, value.reveal()])),
    version: packageJson.version,
    failed: (error) =>
      log.warn(
        { reason: error.message },
        "traces cannot be sent: spans are lost, and pulls go on; see tracing.endpoint",
      ),
    recovered: () => log.info("traces are sent again"),
  });
}

function openAudit({ file: path, stdout }: Config["audit"], log: Log, metrics: Metrics) {
  let isFailing = false;
  const file = (path: string): Audit =>
    auditToFile({
      path,
      failed: (error) => {
        isFailing = true;
        log.error(
          { err: error, path },
          "the audit log cannot be written: its lines are lost, and pulls go on",
        );
      },
      lost: (lines) => metrics.auditLost.inc(lines),
      recovered: () => {
        isFailing = false;
        log.info({ path }, "the audit log is written again");
      },
    });
  const audit = path === undefined ? (stdout ? auditToStdout() : undefined) : file(path);
  return { audit, isFailing: () => isFailing };
}

function hookOf(
  { url, urlFile, format, on, minInterval: minIntervalMs }: Config["alerts"][number],
  name: string,
  log: Log,
  metrics: Metrics,
): Hook & { readonly webhook: Webhook } {
  const webhook = new Webhook({
    // The rules of the configuration see to it that there is one.
    url: (url ?? urlFile)?.reveal() ?? "",
    format,
    ended: ({ event, state, subject }, result, reason) => {
      metrics.alertsSent.inc({ event, result });
      // By its place in the configuration, since its address is a secret.
      if (reason !== undefined)
        log.warn({ webhook: name, event, state, subject, result, reason }, "an alert was not delivered");
    },
  });
  return { webhook, on, minIntervalMs };
}
