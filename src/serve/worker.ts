/** A worker: a process that its owner forks to serve what is held. It changes nothing in the store, and ends with its owner. */
import { systemClock as clock } from "../async/clock.ts";
import type { TlsSettings } from "../config/tls.ts";
import { Certificates } from "../http/certificates.ts";
import { forwardTo } from "../http/forwardToOwner.ts";
import { UnreadBytes } from "../http/reply.ts";
import { StreamLimit, type ConnectionLimits } from "../http/limits.ts";
import { listen, type Address, type Tls } from "../http/listen.ts";
import { workerListener } from "../http/workerListener.ts";
import { HeldOnly } from "../mirror/heldOnly.ts";
import { openStoreBeside } from "../store/open.ts";
import { Failures } from "../telemetry/failures.ts";
import { openLog, type LogLevel } from "../telemetry/log.ts";
import { WorkerReports, type WorkerReport } from "./workerReports.ts";

/** What a worker serves with. */
export interface WorkerSettings {
  readonly address: Address;
  readonly tls?: TlsSettings;
  /** The Unix socket to which it forwards requests. */
  readonly socketPath: string;
  /** The store's folder. */
  readonly root: string;
  readonly upstreams: readonly string[];
  readonly defaultUpstream: string;
  readonly tagTtlMs: number;
  readonly stallMs: number;
  /** Of this process alone. */
  readonly limits: Pick<ConnectionLimits, "connections" | "perAddress"> & {
    readonly streamsPerClient: number;
  };
  readonly logLevel: LogLevel;
  readonly isAudited: boolean;
}

/** What an owner sends to a worker. */
export type WorkerCommand =
  | { readonly kind: "serve"; readonly settings: WorkerSettings }
  | { readonly kind: "drain"; readonly graceMs: number };

/** What a worker sends to its owner. */
export type WorkerMessage =
  | { readonly kind: "ready" }
  | { readonly kind: "report"; readonly report: WorkerReport };

const { promise: draining, resolve: drain } = Promise.withResolvers<number>();

process.on("disconnect", () => process.exit());
// A signal to all processes is for the owner, which sends "drain" then.
process.on("SIGTERM", () => {}).on("SIGINT", () => {});
process.on("SIGHUP", () => {});
process.on("message", (command: WorkerCommand) => {
  if (command.kind === "drain") drain(command.graceMs);
  else void serve(command.settings);
});

async function serve(settings: WorkerSettings): Promise<void> {
  const { root, socketPath, tagTtlMs, stallMs, limits, logLevel, isAudited } = settings;
  const reports = new WorkerReports((report, sent) => send({ kind: "report", report }, sent), clock);
  const { blobs, catalog } = openStoreBeside(root);
  const handle = workerListener({
    held: new HeldOnly({ catalog, blobs, tagTtlMs, now: () => clock.now(), used: reports.used }),
    routing: { upstreams: new Set(settings.upstreams), defaultUpstream: settings.defaultUpstream },
    forward: forwardTo(socketPath, stallMs, () => reports.limitReached("stalled")),
    stallMs,
    // What is too much here is forwarded, and refused by the owner if it is too much there as well.
    streams: new StreamLimit(limits.streamsPerClient, () => {}),
    unread: new UnreadBytes(() => {}),
    log: openLog(logLevel, reports),
    sums: reports,
    failures: new Failures(),
    clock,
    ...(isAudited && { audit: reports.audit }),
  });
  const tls = settings.tls && (await openTls(settings.tls, reports.tlsFailed));
  const connectionLimits = { ...limits, stallMs, reached: reports.limitReached };
  const listener = await listen(handle, settings.address, connectionLimits, clock, tls);
  send({ kind: "ready" });
  await listener.close(await draining);
  reports.flush(() => process.disconnect?.());
}

/** Logs nothing: the owner reads the same files, and does. */
async function openTls(
  { clientCertificates = "required", ...files }: TlsSettings,
  failed: () => void,
): Promise<Tls> {
  const events = { renewed: () => {}, refused: () => {}, restored: () => {} };
  const certificates = await Certificates.open({ files, events, clock });
  return { certificates, clientCertificates, failed };
}

function send(message: WorkerMessage, sent: (error?: Error | null) => void = () => {}): void {
  // It fails when the owner has ended, of which there is an event of its own.
  process.send?.(message, undefined, {}, sent);
}
