/** The worker processes: each is started again when it ends, until all are to end. */
import { fork, type ChildProcess } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { ReportBatch } from "./workerReports.ts";
import type { Order, Report, WorkerSettings } from "./worker.ts";

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
