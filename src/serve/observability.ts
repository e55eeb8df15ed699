/** Opens observability: traces and the audit log, each only where it is configured. */
import type { Clock } from "../async/clock.ts";
import type { Config } from "../config/load.ts";
import type { Secret } from "../config/secret.ts";
import { auditToFile, auditToStdout, type Audit } from "../telemetry/audit.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Tracing } from "../telemetry/tracing.ts";
import packageJson from "../../package.json" with { type: "json" };

export interface Observability {
  readonly tracing?: Tracing;
  readonly audit?: Audit;
  /** Are lines of the audit log being lost? */
  readonly isAuditFailing: () => boolean;
  /** Writes and sends what is left, for a bounded time. */
  close(): Promise<void>;
}

export async function openObservability(
  config: Config,
  log: Log,
  metrics: Metrics,
  clock: Clock,
): Promise<Observability> {
  const tracing = await openTracing(config.tracing, log);
  const { audit, isAuditFailing } = openAudit(config.audit, log, metrics, clock);
  return {
    ...(tracing && { tracing }),
    ...(audit && { audit }),
    isAuditFailing,
    close: async () => void (await Promise.all([audit?.close(), tracing?.close()])),
  };
}

async function openTracing(
  { endpoint, sampleRatio, headersFile = {} }: Config["tracing"],
  log: Log,
): Promise<Tracing | undefined> {
  if (endpoint === undefined) return undefined;
  // OpenTelemetry is a lot of code, loaded only if pulls are traced.
  const { openTracing } = await import("../telemetry/tracing.ts");
  const secrets: [string, Secret][] = Object.entries(headersFile);
  return openTracing({
    endpoint,
    sampleRatio,
    random: Math.random,
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

function openAudit({ file: path, stdout }: Config["audit"], log: Log, metrics: Metrics, clock: Clock) {
  let isFailing = false;
  const file = (path: string): Audit =>
    auditToFile({
      path,
      clock,
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
  const audit = path === undefined ? (stdout ? auditToStdout(clock) : undefined) : file(path);
  return { audit, isAuditFailing: () => isFailing };
}
