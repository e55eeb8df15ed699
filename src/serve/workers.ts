/** The part of the composition that is about workers: processes that serve what is held, beside this one, which owns the rest. */
import { fork, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Config } from "../config/load.ts";
import { forwardedClientAddress } from "../http/forwardToOwner.ts";
import { listenAt, type Address } from "../http/listen.ts";
import { registryListener, type RegistryListenerOptions } from "../http/registry.ts";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/reference.ts";
import type { Output } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Order, Report, WorkerSettings } from "./worker.ts";
import type { ReportBatch } from "./workerReports.ts";

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

export interface WorkerProcessesOptions {
  /** What each worker is told first. */
  readonly settings: WorkerSettings;
  /** Told what happened in a worker. */
  readonly took: (batch: ReportBatch) => void;
  /** Told that a worker ended unasked, and how. */
  readonly ended: (pid: number | undefined, why: string) => void;
}

const entry = fileURLToPath(new URL("worker.ts", import.meta.url));

/** A worker that ends again and again is not started more often than this, in ms. */
const restartMs = 1000;

/** How much longer than it was given a worker may take to end, in ms. */
const lateMs = 2000;

export class WorkerProcesses {
  readonly #options: WorkerProcessesOptions;
  /** Each with when it has ended and all that it told has come. */
  readonly #running = new Map<ChildProcess, Promise<unknown>>();
  #isClosing = false;

  constructor(options: WorkerProcessesOptions) {
    this.#options = options;
  }

  /** Starts a worker, and another one whenever it ends; settles when it serves, and rejects when it ends before. */
  async start(): Promise<void> {
    const { settings, took } = this.#options;
    const started = performance.now();
    // As JSON, each log line would be escaped, and read again. What is audited takes a little longer so.
    const child = fork(entry, { serialization: "advanced", stdio: ["ignore", "inherit", "inherit", "ipc"] });
    const ready = Promise.withResolvers<void>();
    child.on("message", (report: Report) => {
      if (report.kind === "batch") took(report.batch);
      else ready.resolve();
    });
    child.on("error", ready.reject);
    const exit = new Promise<void>((resolve) => {
      child.once("exit", (code, signal) => {
        const why = `a worker ended with ${signal ?? `code ${code}`}`;
        this.#running.delete(child);
        ready.reject(new Error(why));
        resolve();
        if (!this.#isClosing) void this.#replace(child.pid, why, started + restartMs - performance.now());
      });
    });
    const told = new Promise<void>((resolve) => {
      child.once("disconnect", resolve);
    });
    this.#running.set(child, Promise.all([exit, told]));
    order(child, { kind: "serve", settings });
    await ready.promise;
  }

  /** Has all of them start anew at once, which cuts those who read. */
  renew(): void {
    for (const child of this.#running.keys()) child.kill("SIGKILL");
  }

  /** Has all of them end: those who read have `graceMs`. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    await Promise.all(
      [...this.#running].map(async ([child, over]) => {
        order(child, { kind: "drain", graceMs });
        const late = pause(graceMs + lateMs, undefined, { ref: false });
        await Promise.race([over, late.then(() => child.kill("SIGKILL"))]);
        await over;
      }),
    );
  }

  async #replace(pid: number | undefined, why: string, afterMs: number): Promise<void> {
    this.#options.ended(pid, why);
    await pause(Math.max(0, afterMs), undefined, { ref: false });
    // One that does not come to serve has ended, and is replaced in turn.
    if (!this.#isClosing) await this.start().catch(() => {});
  }
}

/** One that is gone hears nothing, and its end is told. */
function order(child: ChildProcess, order: Order): void {
  child.send(order, () => {});
}
