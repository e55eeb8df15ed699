/** Programs while they run: commands to their end, and daemons until they are ended by their id. */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { openSync, closeSync, readFileSync } from "node:fs";
import { once } from "node:events";
import { setTimeout as wait } from "node:timers/promises";

/**
 * The environment of every client: a proxy that does not exist for all but this machine. A client that gives up on
 * the mirror and asks the real registry fails at once instead of passing for the wrong reason.
 */
export function sealed(home: string, more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const nowhere = "http://127.0.0.1:9";
  return {
    PATH: process.env["PATH"],
    HOME: home,
    HTTP_PROXY: nowhere,
    HTTPS_PROXY: nowhere,
    NO_PROXY: "127.0.0.1,localhost",
    ...more,
  };
}

/** What a command prints; an error with the command line and what it said when it fails or takes longer than `minutes`. */
export function run(
  command: string,
  parameters: readonly string[],
  env: NodeJS.ProcessEnv,
  minutes = 1,
): Promise<string> {
  const limits = { timeout: minutes * 60_000, killSignal: "SIGKILL", maxBuffer: 32 * 1024 * 1024 } as const;
  return new Promise((resolve, reject) => {
    execFile(command, parameters, { env, ...limits }, (error, stdout, stderr) => {
      if (error === null) {
        resolve(stdout);
        return;
      }
      const ending = error.killed === true ? `was stopped after ${minutes} min` : `ended with ${error.code}`;
      const said = (stderr === "" ? stdout : stderr).slice(-4000);
      reject(new Error(`${command} ${parameters.join(" ")}\n${ending}\n${said}`));
    });
  });
}

export interface DaemonOptions {
  readonly env: NodeJS.ProcessEnv;
  /** The file for what it prints. */
  readonly log: string;
  /** Asked until it is true. */
  readonly ready: (log: string) => Promise<boolean> | boolean;
}

/** A program that runs until it is stopped. */
export class Daemon {
  readonly #process: ChildProcess;
  readonly #log: string;

  private constructor(process: ChildProcess, log: string) {
    this.#process = process;
    this.#log = log;
  }

  /** Starts a program and waits, half a minute at most, until it is ready. */
  static async start(
    command: string,
    parameters: readonly string[],
    options: DaemonOptions,
  ): Promise<Daemon> {
    const output = openSync(options.log, "a");
    // The system ends it with the tests, also where those are ended by force.
    const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", command, ...parameters], {
      env: options.env,
      stdio: ["ignore", output, output],
    });
    closeSync(output);
    const daemon = new Daemon(child, options.log);
    await once(child, "spawn");
    const deadline = Date.now() + 30_000;
    while (!(await options.ready(daemon.log))) {
      if (child.exitCode !== null || child.signalCode !== null || Date.now() > deadline) {
        await daemon.stop();
        throw new Error(`${command} does not start:\n${daemon.log}`);
      }
      await wait(50);
    }
    return daemon;
  }

  /** What it has printed so far. */
  get log(): string {
    return readFileSync(this.#log, "utf8");
  }

  /** The outcome of work that the daemon takes part in; its failure tells what the daemon printed last. */
  async watch<T>(work: Promise<T>): Promise<T> {
    return explained(work, this.#log, () => this.log.trimEnd().split("\n"));
  }

  /** Ends it, by force after ten seconds. */
  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) {
      return;
    }
    const ended = once(this.#process, "exit");
    this.#process.kill("SIGTERM");
    const force = setTimeout(() => this.#process.kill("SIGKILL"), 10_000);
    await ended;
    clearTimeout(force);
  }
}

/** The outcome of `work`, whose error also tells the last lines of a log. */
export async function explained<T>(work: Promise<T>, log: string, lines: () => string[]): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof Error) {
      const last = lines()
        .slice(-10)
        .map((line) => line.slice(0, 500));
      error.message = [error.message.trimEnd(), `--- the end of ${log}`, ...last].join("\n");
    }
    throw error;
  }
}
