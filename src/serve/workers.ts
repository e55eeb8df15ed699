/** Workers: processes that serve what is held beside this one, their owner. Each is replaced when it ends by itself. */
import { fork, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Clock } from "../async/clock.ts";
import type { Config } from "../config/load.ts";
import { forwardedClientAddress } from "../http/forwardToOwner.ts";
import { listenAt, type Address } from "../http/listen.ts";
import { registryListener, type RegistryListenerOptions } from "../http/registry.ts";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/reference.ts";
import type { Output } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { WorkerCommand, WorkerMessage, WorkerSettings } from "./worker.ts";
import type { WorkerReport } from "./workerReports.ts";

export interface WorkersOptions {
  readonly config: Config;
  /** Where this process and all workers listen. */
  readonly address: Address;
  /** What the registry listener of this process is made with. */
  readonly registry: RegistryListenerOptions;
  readonly used: (repository: Repository, digest: Digest, times: number) => void;
  readonly metrics: Metrics;
  /** Where the lines of the workers' logs are written. */
  readonly output: Output;
  readonly clock: Clock;
}

const entry = fileURLToPath(new URL("worker.ts", import.meta.url));

/** A worker that ends again and again is not started more often than this, in ms. */
const restartMs = 1000;

/** How much later than it should a worker may end before it is killed, in ms. */
const lateMs = 2000;

export class Workers {
  readonly #options: WorkersOptions;
  readonly #settings: WorkerSettings;
  /** Stops accepting what workers forward. */
  readonly #closeSocket: () => Promise<void>;
  /** Each with when it has ended and its last report has come. */
  readonly #running = new Map<ChildProcess, Promise<unknown>>();
  #isClosing = false;

  private constructor(options: WorkersOptions, socketPath: string, closeSocket: () => Promise<void>) {
    this.#options = options;
    this.#settings = settingsOf(options, socketPath);
    this.#closeSocket = closeSocket;
  }

  /** Starts one worker less than `workers` of the configuration; settles when all serve. @throws Error when one cannot */
  static async open(options: WorkersOptions): Promise<Workers> {
    const { config, registry, clock } = options;
    // Only this user may open what is in it.
    const folder = await mkdtemp(join(tmpdir(), "hubcap-"));
    const socketPath = join(folder, "owner.sock");
    const handle = registryListener({ ...registry, addressOf: forwardedClientAddress });
    const socket = await listenAt(socketPath, handle, clock);
    const workers = new Workers(options, socketPath, async () => {
      await socket.close(0);
      await rm(folder, { recursive: true, force: true });
    });
    try {
      await Promise.all(Array.from({ length: config.workers - 1 }, () => workers.#start()));
    } catch (error) {
      await workers.close(0);
      throw error;
    }
    return workers;
  }

  /** Restarts all of them at once, so that they open the store anew. This cuts the connections of their clients. */
  restart(): void {
    for (const child of this.#running.keys()) child.kill("SIGKILL");
  }

  /** Ends all of them; open connections have `graceMs`. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    await Promise.all(
      [...this.#running].map(async ([child, ended]) => {
        send(child, { kind: "drain", graceMs });
        const late = this.#options.clock.sleep(graceMs + lateMs);
        await Promise.race([ended, late.then(() => child.kill("SIGKILL"))]);
        await ended;
      }),
    );
    await this.#closeSocket();
  }

  /** Settles when the worker serves, and rejects when it ends before. */
  async #start(): Promise<void> {
    const { clock } = this.#options;
    const startedAt = clock.elapsed();
    // Not as JSON, in which every log line would be escaped and parsed again.
    const child = fork(entry, { serialization: "advanced", stdio: ["ignore", "inherit", "inherit", "ipc"] });
    const ready = Promise.withResolvers<void>();
    child.on("message", (message: WorkerMessage) => {
      if (message.kind === "report") this.#take(message.report);
      else ready.resolve();
    });
    child.on("error", ready.reject);
    const exited = new Promise<void>((resolve) => {
      child.once("exit", (code, signal) => {
        const reason = `a worker ended with ${signal ?? `code ${code}`}`;
        this.#running.delete(child);
        ready.reject(new Error(reason));
        resolve();
        if (!this.#isClosing) void this.#replace(child.pid, reason, startedAt + restartMs - clock.elapsed());
      });
    });
    const disconnected = new Promise<void>((resolve) => {
      child.once("disconnect", resolve);
    });
    this.#running.set(child, Promise.all([exited, disconnected]));
    send(child, { kind: "serve", settings: this.#settings });
    await ready.promise;
  }

  async #replace(worker: number | undefined, reason: string, afterMs: number): Promise<void> {
    const { registry, metrics, clock } = this.#options;
    registry.log.error({ worker }, `${reason}: another one is started`);
    metrics.workerRestarts.inc();
    await clock.sleep(Math.max(0, afterMs));
    // One that fails to start has ended, and is replaced in turn.
    if (!this.#isClosing) await this.#start().catch(() => {});
  }

  /** Counts and writes what happened in a worker as if it had happened here. */
  #take({ lines, uses, requests, audited, tlsFailures, limited }: WorkerReport): void {
    const { registry, metrics, output, used } = this.#options;
    if (lines.length > 0) output.write(lines.toString());
    for (const { repository, digest, times } of uses) used(repository, digest, times);
    for (const each of requests) registry.sums.add(each);
    for (const pull of audited) registry.audit?.write(pull);
    for (const [limit, count] of limited) metrics.limited.inc({ limit }, count);
    if (tlsFailures > 0) metrics.tlsFailures.inc({ listener: "registry" }, tlsFailures);
  }
}

function settingsOf({ config, address, registry }: WorkersOptions, socketPath: string): WorkerSettings {
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
    isAudited: registry.audit !== undefined,
  };
}

/** A worker that has ended gets no command; its end is an event of its own. */
function send(child: ChildProcess, command: WorkerCommand): void {
  child.send(command, () => {});
}
