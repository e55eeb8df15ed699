/** The part of the composition that is about TLS: the listeners' certificates, and what operators hear of them. */
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
  /** Undefined for a listener that speaks plain HTTP. */
  of(listener: ListenerName): Tls | undefined;
  close(): void;
}

/** Reads all certificates of the configuration. @throws ConfigError with every one that cannot be served. */
export async function openTls(config: Config, log: Log, metrics: Metrics): Promise<OpenTls> {
  const open = new Map<ListenerName, Tls>();
  const issues: Issue[] = [];
  for (const listener of listeners) {
    const { tls } = config[listener];
    if (!tls) continue;
    try {
      open.set(listener, await openListener(listener, tls, log, metrics));
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
): Promise<Tls> {
  const alarm = (isRaised: boolean): void => metrics.certificateRefused.set({ listener }, Number(isRaised));
  const tell = (notAfter: Date): void =>
    metrics.certificateExpiry.set({ listener }, Math.floor(notAfter.getTime() / 1000));
  const certificates = await Certificates.open({
    files,
    events: {
      renewed(notAfter) {
        alarm(false);
        tell(notAfter);
        log.info({ listener, notAfter: notAfter.toISOString() }, "a new certificate is served");
      },
      refused(error) {
        alarm(true);
        const fields = { listener, notAfter: certificates.notAfter.toISOString() };
        log.error(fields, `the new certificate cannot be served: ${error.message}; the old one is served on`);
      },
      restored() {
        alarm(false);
        log.info({ listener }, "the certificate files hold again what is served");
      },
    },
    now: Date.now,
  });
  alarm(false);
  tell(certificates.notAfter);
  return { certificates, clientCertificates, failed: () => metrics.tlsFailures.inc({ listener }) };
}
