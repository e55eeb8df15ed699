/** Opens TLS: the listeners' certificates, with their metrics and log lines. */
import type { Clock } from "../async/clock.ts";
import { ConfigError, type Issue } from "../config/issue.ts";
import type { Config } from "../config/load.ts";
import type { TlsSettings } from "../config/tls.ts";
import { CertificateError, Certificates } from "../http/certificates.ts";
import type { Tls } from "../http/listen.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";

const listeners = ["registry", "status"] as const;

type ListenerName = (typeof listeners)[number];

/** TLS of all listeners. */
export interface OpenTls {
  /** Undefined for a listener of plain HTTP. */
  of(listener: ListenerName): Tls | undefined;
  close(): void;
}

/** Reads all certificates of the configuration. @throws ConfigError with all that cannot be used */
export async function openTls(config: Config, log: Log, metrics: Metrics, clock: Clock): Promise<OpenTls> {
  const open = new Map<ListenerName, Tls>();
  const issues: Issue[] = [];
  for (const listener of listeners) {
    const { tls } = config[listener];
    if (!tls) continue;
    try {
      open.set(listener, await openListener(listener, tls, log, metrics, clock));
    } catch (error) {
      if (!(error instanceof CertificateError)) throw error;
      const { file, expected } = error;
      issues.push({ path: `${listener}.tls.${file}`, value: JSON.stringify(tls[file]), expected });
    }
  }
  if (issues.length > 0) throw new ConfigError(issues);
  return {
    of: (listener) => open.get(listener),
    close: () => open.forEach(({ certificates }) => certificates.close()),
  };
}

async function openListener(
  listener: ListenerName,
  { clientCertificates = "required", ...files }: TlsSettings,
  log: Log,
  metrics: Metrics,
  clock: Clock,
): Promise<Tls> {
  const setRefused = (isRefused: boolean): void =>
    metrics.certificateRefused.set({ listener }, Number(isRefused));
  const setExpiry = (notAfter: Date): void =>
    metrics.certificateExpiry.set({ listener }, Math.floor(notAfter.getTime() / 1000));
  const certificates = await Certificates.open({
    files,
    events: {
      renewed(notAfter) {
        setRefused(false);
        setExpiry(notAfter);
        log.info({ listener, notAfter: notAfter.toISOString() }, "a new certificate is in use");
      },
      refused(error) {
        setRefused(true);
        const fields = { listener, notAfter: certificates.notAfter.toISOString() };
        log.error(fields, `the new certificate cannot be used: ${error.message}; the old one stays in use`);
      },
      restored() {
        setRefused(false);
        log.info({ listener }, "the certificate files hold again what is in use");
      },
    },
    clock,
  });
  setRefused(false);
  setExpiry(certificates.notAfter);
  return { certificates, clientCertificates, failed: () => metrics.tlsFailures.inc({ listener }) };
}
