/** A real Hubcap as a child process, configured for tests: free ports, a storage root of its own. */
import { randomInt } from "node:crypto";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { stringify } from "yaml";
import { ask, type AskOptions, type Reply } from "./ask.ts";
import { Child, type Exit } from "./child.ts";
import type { Hub } from "./hub.ts";
import type { InProcess } from "./inProcess.ts";
import { sumOfMetric, type MetricLabels } from "./metrics.ts";
import { entry } from "./run.ts";

/** As `npm start` and the image have it. */
export const nodeOptions = [
  "--max-semi-space-size=2",
  "--no-allocation-site-pretenuring",
  "--disable-warning=ExperimentalWarning",
] as const;

/** A configuration as it is written; what it leaves out of `registry`, `status` and `storage` is filled in. */
export interface WrittenConfig {
  readonly registry?: object;
  readonly status?: object;
  readonly storage?: object;
  readonly upstreams?: Readonly<Record<string, object>>;
  readonly [section: string]: unknown;
}

export interface HubcapOptions {
  readonly config?: WrittenConfig;
  /** Environment variables beside the machine's own, of which none that configures Hubcap is passed on. */
  readonly env?: Readonly<Record<string, string>>;
  /** Arguments of Node itself, such as `--max-old-space-size=64`. */
  readonly nodeArgs?: readonly string[];
  /** Runs it in the process of the test, which is faster. It can be stopped there, but not killed. */
  readonly inProcess?: boolean;
  /** What a status listener with TLS is asked with. */
  readonly trust?: Pick<AskOptions, "ca" | "cert" | "key">;
}

/** One line of the log. */
export type LogLine = Readonly<Record<string, unknown>>;

const startSeconds = 60;

/** The section of `upstreams` that leads to a stand-in. */
export function upstreamOf(hub: Hub, settings: object = {}): object {
  return {
    url: hub.url,
    tokenRealms: [hub.tokenService.url],
    allowPrivateAddresses: true,
    ...settings,
  };
}

/** Loaded when it is wanted: it brings all of Hubcap along. */
async function runInProcess(configuration: string): Promise<InProcess> {
  const { InProcess } = await import("./inProcess.ts");
  return new InProcess(configuration);
}

/** A port that was free a moment ago, below those that the system gives to connections: none of them can take it meanwhile. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(12_000, 32_000);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

export class Hubcap {
  readonly #options: HubcapOptions;
  readonly #folder: string;
  readonly #ports: readonly [number, number];
  readonly #earlier: string[] = [];
  #child: Child | InProcess | undefined;

  constructor(options: HubcapOptions, folder: string, ports: readonly [number, number]) {
    this.#options = options;
    this.#folder = folder;
    this.#ports = ports;
  }

  /** Where clients pull. */
  get url(): string {
    return `${this.#scheme("registry")}://127.0.0.1:${this.#ports[0]}`;
  }

  /** Where health, metrics and the status API answer. */
  get statusUrl(): string {
    return `${this.#scheme("status")}://127.0.0.1:${this.#ports[1]}`;
  }

  /** The storage root. */
  get root(): string {
    return join(this.#folder, "storage");
  }

  get pid(): number {
    return this.#running.pid;
  }

  /** Everything that the running process has written to standard error. */
  get errors(): string {
    return this.#child?.errors ?? "";
  }

  /** How the process ended, or will end. */
  get exit(): Promise<Exit> {
    return this.#running.exit;
  }

  get #running(): Child | InProcess {
    if (this.#child === undefined) {
      throw new Error("Hubcap was never started");
    }
    return this.#child;
  }

  /** Starts the process and resolves when it is ready. Rejects when it ends before, with what it said. */
  async start(config: WrittenConfig = this.#options.config ?? {}): Promise<void> {
    const path = join(this.#folder, "hubcap.yaml");
    await writeFile(path, this.#document(config));
    this.#earlier.push(...(this.#child?.lines ?? []));
    const child = this.#options.inProcess === true ? await runInProcess(path) : this.#spawn(path);
    this.#child = child;
    const deadline = performance.now() + startSeconds * 1000;
    while (!(await this.#ready())) {
      if (!child.running) {
        const { code, signal } = await child.exit;
        throw new Error(`Hubcap ended with ${signal ?? code} instead of being ready:\n${child.errors}`);
      }
      if (performance.now() > deadline) {
        child.kill("SIGKILL");
        throw new Error(`Hubcap was not ready within ${startSeconds} s:\n${child.errors}`);
      }
      await wait(20);
    }
  }

  /** Ends it with SIGTERM, and resolves when it has ended. */
  async stop(): Promise<Exit> {
    this.#running.kill("SIGTERM");
    return this.#running.exit;
  }

  /** Ends it with SIGKILL, and resolves when it has ended. */
  async kill9(): Promise<Exit> {
    this.#running.kill("SIGKILL");
    return this.#running.exit;
  }

  /** Starts it again with the same ports and storage; running, it is ended with SIGTERM first. */
  async restart(config?: WrittenConfig): Promise<void> {
    if (this.#running.running) {
      await this.stop();
    }
    await this.start(config);
  }

  /** Ends it at once and removes its storage. */
  async dispose(): Promise<void> {
    if (this.#child?.running === true) {
      await this.kill9();
    }
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** The log so far, of earlier runs too. */
  logs(): LogLine[] {
    return [...this.#earlier, ...(this.#child?.lines ?? [])].map((line) => JSON.parse(line) as LogLine);
  }

  /** Resolves with the first log line of this run that fits, past or future. */
  async logged(fits: (line: LogLine) => boolean): Promise<LogLine> {
    return JSON.parse(await this.#running.line((line) => fits(JSON.parse(line) as LogLine))) as LogLine;
  }

  /** The sum of a metric over the series with these labels; 0 if it has none yet. Rejects when there is no such metric. */
  async metric(name: string, labels: MetricLabels = {}): Promise<number> {
    return sumOfMetric((await this.#askStatus("/metrics")).body.toString(), name, labels);
  }

  /** What a JSON endpoint of the status listener answers. */
  async status(path: string): Promise<unknown> {
    return JSON.parse((await this.#askStatus(path)).body.toString());
  }

  /** Resident memory in bytes (Linux). */
  async residentBytes(): Promise<number> {
    const status = await readFile(`/proc/${this.pid}/status`, "utf8");
    return Number(/VmRSS:\s+(?<kib>\d+) kB/.exec(status)?.groups?.["kib"] ?? Number.NaN) * 1024;
  }

  /** Open file descriptors (Linux). */
  async openFiles(): Promise<number> {
    return (await readdir(`/proc/${this.pid}/fd`)).length;
  }

  #spawn(configuration: string): Child {
    const machine = Object.entries(process.env).filter(([name]) => !name.startsWith("HUBCAP_"));
    return new Child(
      [...nodeOptions, ...(this.#options.nodeArgs ?? []), entry, "serve", "--config", configuration],
      { ...Object.fromEntries(machine), ...this.#options.env },
    );
  }

  #scheme(listener: "registry" | "status"): "http" | "https" {
    return "tls" in (this.#options.config?.[listener] ?? {}) ? "https" : "http";
  }

  #askStatus(path: string): Promise<Reply> {
    return ask(`${this.statusUrl}${path}`, this.#options.trust);
  }

  #document(config: WrittenConfig): string {
    return stringify({
      ...config,
      registry: { listen: `127.0.0.1:${this.#ports[0]}`, ...config.registry },
      status: { listen: `127.0.0.1:${this.#ports[1]}`, ...config.status },
      storage: { root: this.root, ...config.storage },
    });
  }

  async #ready(): Promise<boolean> {
    try {
      return (await this.#askStatus("/readyz")).status === 200;
    } catch {
      return false;
    }
  }
}

/** A Hubcap that is ready. Dispose of it when done. */
export async function startHubcap(options: HubcapOptions = {}): Promise<Hubcap> {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-test-"));
  const hubcap = new Hubcap(options, folder, [await freePort(), await freePort()]);
  try {
    await hubcap.start();
  } catch (error) {
    await hubcap.dispose();
    throw error;
  }
  return hubcap;
}
