/** A worker: a process that its owner forks to serve what is held. It changes nothing, and ends with its owner. */
import { join } from "node:path";
import type { TlsSettings } from "../config/tls.ts";
import { Certificates } from "../http/certificates.ts";
import { forwardTo } from "../http/forwardToOwner.ts";
import { StreamLimit, type ConnectionLimits } from "../http/limits.ts";
import { listen, type Address, type Tls } from "../http/listen.ts";
import { workerListener } from "../http/workerListener.ts";
import { HeldOnly } from "../mirror/heldOnly.ts";
import { DiskBlobs } from "../store/disk/blobs.ts";
import { withMemoryCache } from "../store/disk/memoryCache.ts";
import { SqliteCatalog } from "../store/sqlite/catalog.ts";
import { openBeside } from "../store/sqlite/database.ts";
import { Failures } from "../telemetry/failures.ts";
import { openLog, type LogLevel } from "../telemetry/log.ts";
import { WorkerReports, type ReportBatch } from "./workerReports.ts";

/** What a worker is told first. */
export interface WorkerSettings {
  readonly address: Address;
  readonly tls?: TlsSettings;
  /** Where its owner answers what it does not. */
  readonly socketPath: string;
  /** The store's folder. */
  readonly root: string;
  readonly upstreams: readonly string[];
  readonly defaultUpstream: string;
  readonly tagTtlMs: number;
  readonly stallMs: number;
  /** What clients may ask of this process. */
  readonly limits: Pick<ConnectionLimits, "connections" | "perAddress"> & {
    readonly streamsPerClient: number;
  };
  readonly logLevel: LogLevel;
  readonly isAudited: boolean;
}

/** What its owner tells a worker. */
export type Order =
  | { readonly kind: "serve"; readonly settings: WorkerSettings }
  | { readonly kind: "drain"; readonly graceMs: number };

/** What a worker tells its owner. */
export type Report = { readonly kind: "ready" } | { readonly kind: "batch"; readonly batch: ReportBatch };

const { promise: drain, resolve: askToDrain } = Promise.withResolvers<number>();

process.on("disconnect", () => process.exit());
// Whoever signals all processes of the house means the owner, who says when to go.
process.on("SIGTERM", () => {}).on("SIGINT", () => {});
process.on("SIGHUP", () => {});
process.on("message", (order: Order) => {
  if (order.kind === "drain") askToDrain(order.graceMs);
  else void serve(order.settings);
});

async function serve(settings: WorkerSettings): Promise<void> {
  const { root, socketPath, tagTtlMs, stallMs, limits, logLevel, isAudited } = settings;
  const outbox = new WorkerReports((batch, sent = () => {}) => tell({ kind: "batch", batch }, sent));
  const blobs = withMemoryCache(DiskBlobs.beside(root));
  const catalog = new SqliteCatalog(openBeside(join(root, "catalog.sqlite")));
  const face = workerListener({
    held: new HeldOnly({ catalog, blobs, tagTtlMs, now: Date.now, used: outbox.used }),
    routing: { upstreams: new Set(settings.upstreams), defaultUpstream: settings.defaultUpstream },
    handOn: forwardTo(socketPath),
    stallMs,
    // Who has too many here is told so by the owner, if it has too many there as well.
    streams: new StreamLimit(limits.streamsPerClient, () => {}),
    log: openLog(logLevel, outbox),
    sums: outbox,
    failures: new Failures(),
    ...(isAudited && { audit: outbox.audit }),
  });
  const tls = settings.tls && (await openTls(settings.tls, outbox.tlsFailed));
  const listener = await listen(face, settings.address, { ...limits, stallMs, reached: outbox.reached }, tls);
  tell({ kind: "ready" });
  await listener.close(await drain);
  outbox.flush(() => process.disconnect?.());
}

/** As the owner has it, who reads the same files and tells of them. */
async function openTls(
  { clientCertificates = "required", ...files }: TlsSettings,
  failed: () => void,
): Promise<Tls> {
  const events = { renewed: () => {}, refused: () => {}, restored: () => {} };
  const certificates = await Certificates.open({ files, events, now: Date.now });
  return { certificates, clientCertificates, failed };
}

function tell(report: Report, sent: (error?: Error | null) => void = () => {}): void {
  // It fails when the owner is gone, of which "disconnect" tells.
  process.send?.(report, undefined, {}, sent);
}
