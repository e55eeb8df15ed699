/** The part of the composition that is about workers: processes that serve what is held, beside this one, which owns the rest. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config } from "../config/load.ts";
import { WorkerProcesses } from "./workerProcesses.ts";
import { forwardedClientAddress } from "../http/forwardToOwner.ts";
import { listenAt, type Address } from "../http/listen.ts";
import { registryListener, type RegistryListenerOptions } from "../http/registry.ts";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/reference.ts";
import type { ReportBatch } from "./workerReports.ts";
import type { Output } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { WorkerSettings } from "./worker.ts";

export interface WorkersOptions {
  readonly config: Config;
  /** Where all of them listen. */
  readonly address: Address;
  /** What answers in this process. */
  readonly face: RegistryListenerOptions;
  readonly used: (repository: Repository, digest: Digest, times: number) => void;
  readonly metrics: Metrics;
  /** Where the lines of their logs go. */
  readonly output: Output;
}

/** Workers that serve. */
export interface Workers {
  /** Has all of them open the store anew, which cuts those who read. */
  renew(): void;
  /** Has them end like this process: those who read have `graceMs`. */
  close(graceMs: number): Promise<void>;
}

/** Starts all workers but this process, and settles when they serve. Rejects when one cannot. */
export async function openWorkers(options: WorkersOptions): Promise<Workers> {
  const { config, face, metrics } = options;
  // Nobody but this user reaches what is in it.
  const folder = await mkdtemp(join(tmpdir(), "hubcap-"));
  const socketPath = join(folder, "owner.sock");
  const owner = await listenAt(socketPath, registryListener({ ...face, addressOf: forwardedClientAddress }));
  const crew = new WorkerProcesses({
    settings: settingsOf(options, socketPath),
    took: (batch) => take(batch, options),
    ended: (worker, why) => {
      face.log.error({ worker }, `${why}: another one is started`);
      metrics.workerRestarts.inc();
    },
  });
  const close = async (graceMs: number): Promise<void> => {
    await crew.close(graceMs);
    await owner.close(0);
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await Promise.all(Array.from({ length: config.workers - 1 }, () => crew.start()));
  } catch (error) {
    await close(0);
    throw error;
  }
  return { renew: () => crew.renew(), close };
}

function settingsOf({ config, address, face }: WorkersOptions, socketPath: string): WorkerSettings {
  const { tls } = config.registry;
  const { connections, connectionsPerAddress: perAddress, streamsPerClient } = config.limits;
  return {
    address,
    ...(tls && { tls }),
    socketPath,
    root: config.storage.root,
    upstreams: Object.keys(config.upstreams),
    defaultUpstream: config.defaultUpstream,
    tagTtlMs: config.freshness.tagTtl,
    stallMs: config.registry.stall,
    limits: { connections, perAddress, streamsPerClient },
    logLevel: config.log.level,
    isAudited: face.audit !== undefined,
  };
}

/** Has what happened in a worker count as if it had happened here. */
function take(
  { lines, uses, answers, audited, tlsFailures, limited }: ReportBatch,
  options: WorkersOptions,
): void {
  const { face, metrics, output, used } = options;
  if (lines.length > 0) output.write(lines.toString());
  for (const { repository, digest, times } of uses) used(repository, digest, times);
  for (const each of answers) face.sums.add(each);
  for (const pull of audited) face.audit?.write(pull);
  for (const [limit, count] of limited) metrics.limited.inc({ limit }, count);
  if (tlsFailures > 0) metrics.tlsFailures.inc({ listener: "registry" }, tlsFailures);
}
