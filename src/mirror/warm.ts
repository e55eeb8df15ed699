/** Warming: works through orders to fetch images ahead, from what pulls leave, and remembers how they ended. */
import { randomUUID } from "node:crypto";
import type { BucketState } from "../quota/snapshot.ts";
import type { WarmJobTable } from "../store/state.ts";
import { isSaving } from "./freshness.ts";
import { Semaphore } from "../async/concurrency.ts";
import { NoSpaceError, setbackOf, type Setback } from "./warmError.ts";
import type { ImageWarmer } from "./warmImage.ts";
import { WarmJob, type WarmItem, type WarmOrder } from "./warmJob.ts";

/** How a job ended, for the log. */
export interface WarmEnd {
  readonly job: WarmJob;
  readonly held: number;
  readonly failed: number;
  readonly left: number;
}

export interface WarmerOptions {
  readonly images: Pick<ImageWarmer, "warm">;
  /** Where an upstream's quota stands; undefined when there is no such upstream any more. */
  readonly stateOf: (upstream: string) => BucketState | undefined;
  readonly table: WarmJobTable;
  /** Images that are fetched at once, over all jobs. */
  readonly concurrency: number;
  /** Called with how each image ended. */
  readonly ended: (upstream: string, result: "held" | "failed" | "left") => void;
  /** Called with how each job ended. */
  readonly over: (end: WarmEnd) => void;
  /** Called with an error that must not happen, such as of a table that cannot be written; the work goes on. */
  readonly trouble: (error: unknown) => void;
  /** Aborted when the process is to end. Jobs that have not ended go on in the next one. */
  readonly draining: AbortSignal;
  readonly now: () => number;
  /** Waits; rejects when the signal is aborted. */
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** Jobs that may be under way at once, and ended ones that are remembered. */
const mostRunning = 100;
const mostRemembered = 50;

/** How often a waiting job looks whether there is quota again, in ms. */
const lookEveryMs = 5_000;

/** How long is waited, in ms, where no one can say when there will be quota again. */
const unknownMs = 60_000;

/** There are too many jobs under way. */
export class TooManyJobsError extends Error {
  override readonly name = "TooManyJobsError";
}

export class Warmer {
  readonly #options: WarmerOptions;
  readonly #turns: Semaphore;
  readonly #jobs = new Map<string, WarmJob>();
  readonly #running = new Set<Promise<void>>();
  /** Settles when the last change has been written: the table is changed in the order in which jobs are. */
  #written = Promise.resolve();

  constructor(options: WarmerOptions) {
    this.#options = options;
    this.#turns = new Semaphore(options.concurrency);
  }

  /** Reads the jobs of earlier processes; {@link start} goes on with those that have not ended. */
  async load(): Promise<void> {
    for (const text of await this.#options.table.all()) {
      const job = this.#read(text);
      if (job) this.#jobs.set(job.id, job);
    }
  }

  start(): void {
    for (const job of this.#jobs.values()) if (!job.isOver) this.#begin(job);
  }

  /** Oldest first. */
  get jobs(): readonly WarmJob[] {
    return [...this.#jobs.values()];
  }

  job(id: string): WarmJob | undefined {
    return this.#jobs.get(id);
  }

  /** Begins with `order`, which outlives the process when this settles. @throws TooManyJobsError */
  async submit(order: WarmOrder): Promise<WarmJob> {
    if (this.jobs.filter(({ isOver }) => !isOver).length >= mostRunning) {
      throw new TooManyJobsError(`${mostRunning} jobs are under way: wait for some to end, or cancel them`);
    }
    const job = new WarmJob(randomUUID(), order, this.#options.now());
    this.#jobs.set(job.id, job);
    await this.#keep(job);
    // It may have been cancelled meanwhile.
    if (!job.isOver) this.#begin(job);
    return job;
  }

  /** Is a job of this origin and name under way? */
  isUnderWay({ origin, name }: Pick<WarmOrder, "origin" | "name">): boolean {
    return this.jobs.some(({ isOver, order }) => !isOver && order.origin === origin && order.name === name);
  }

  /** Lets go of what a job has not begun; downloads that run end by themselves. Undefined when there is no such job. */
  async cancel(id: string): Promise<WarmJob | undefined> {
    const job = this.#jobs.get(id);
    if (!job || job.isOver) return job;
    job.state = "cancelled";
    job.cancelling.abort(new Error("the job was cancelled"));
    for (const item of job.items) {
      if (item.state === "pending" || item.state === "running" || item.state === "waiting")
        item.state = "cancelled";
    }
    this.#end(job);
    await this.#written;
    return job;
  }

  /** Settles when nothing is under way any more, which is soon after the draining began. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#running);
    await this.#written;
  }

  #begin(job: WarmJob): void {
    const running = this.#run(job).catch(this.#options.trouble);
    this.#running.add(running);
    void running.finally(() => this.#running.delete(running));
  }

  async #run(job: WarmJob): Promise<void> {
    const { draining } = this.#options;
    const signal = AbortSignal.any([draining, job.cancelling.signal]);
    for (;;) {
      job.state = "running";
      await this.#pass(job, signal);
      if (signal.aborted) return;
      if (!job.order.wait || job.count("waiting") === 0) break;
      job.state = "waiting";
      await this.#refilled(job, signal);
      if (signal.aborted) return;
    }
    job.state = "done";
    this.#end(job);
  }

  /** Tries every image that has not ended, once. */
  async #pass(job: WarmJob, signal: AbortSignal): Promise<void> {
    // What one image was answered, the others of its upstream need not ask again.
    const refusals = new Map<string, Error>();
    let full: NoSpaceError | undefined;
    const warm = async (item: WarmItem): Promise<void> => {
      if (signal.aborted) return;
      item.state = "running";
      item.total = item.done;
      const { repository, reference } = item;
      const { platforms, origin } = job.order;
      const leave = {
        client: `warm (${origin})`,
        signal,
        refusal: full ?? refusals.get(repository.upstream),
      };
      try {
        await this.#options.images.warm({ repository, reference, platforms }, item, leave);
        if (!signal.aborted) this.#settle(item, undefined);
      } catch (error) {
        // Cancelled, or to be begun anew by the next process.
        if (signal.aborted) return;
        const setback = this.#setback(error);
        if (error instanceof NoSpaceError) full = error;
        else if (setback.state === "waiting" && error instanceof Error)
          refusals.set(repository.upstream, error);
        this.#settle(item, setback);
      }
    };
    const open = job.items.filter(({ state }) => state === "pending" || state === "waiting");
    await Promise.all(open.map((item) => this.#turns.run(() => warm(item))));
  }

  #setback(error: unknown): Setback {
    const setback = setbackOf(error, this.#options.now());
    if (setback) return setback;
    this.#options.trouble(error);
    return { state: "failed", error: "this is Hubcap's own fault; its log says more" };
  }

  #settle(item: WarmItem, setback: Setback | undefined): void {
    item.setback = setback;
    item.state = setback?.state ?? "held";
    const result = item.state === "waiting" ? "left" : item.state === "held" ? "held" : "failed";
    this.#options.ended(item.repository.upstream, result);
  }

  /** Waits until one of the upstreams that had nothing left may have something again. */
  async #refilled(job: WarmJob, signal: AbortSignal): Promise<void> {
    const { now, stateOf } = this.#options;
    const left = job.items.filter(({ state }) => state === "waiting");
    const isOpen = (upstream: string): boolean => !isSaving(stateOf(upstream) ?? "ok");
    // One that is open already has asked for a pause, and that is waited for.
    const closed = [...new Set(left.map(({ repository }) => repository.upstream))].filter(
      (name) => !isOpen(name),
    );
    const known = left.flatMap(({ setback }) => setback?.retryAt ?? []);
    job.goOnAt = known.length > 0 ? Math.min(...known) : now() + unknownMs;
    while (now() < job.goOnAt && !closed.some(isOpen)) {
      try {
        await this.#options.pause(lookEveryMs, signal);
      } catch {
        break; // No one waits any more.
      }
    }
    job.goOnAt = undefined;
  }

  #end(job: WarmJob): void {
    const { over, now, table } = this.#options;
    job.endedAt = now();
    job.goOnAt = undefined;
    void this.#keep(job);
    const ended = this.jobs.filter(({ isOver }) => isOver);
    // The cluster's images are looked at every few minutes; only the last time is worth remembering.
    const repeated = ended.filter(({ order, id }) => order.origin === "cluster" && id !== job.id);
    const old = ended.slice(0, Math.max(0, ended.length - mostRemembered));
    for (const { id } of new Set([...(job.order.origin === "cluster" ? repeated : []), ...old])) {
      this.#jobs.delete(id);
      void this.#write(() => table.remove(id));
    }
    over({
      job,
      held: job.count("held"),
      failed: job.count("failed"),
      left: job.count("waiting", "cancelled"),
    });
  }

  #keep(job: WarmJob): Promise<void> {
    const body = job.write();
    return this.#write(() => this.#options.table.keep(job.id, job.createdAt, body));
  }

  /** A full disk must not end a job: it is only not remembered. */
  #write(write: () => Promise<void>): Promise<void> {
    return (this.#written = this.#written.then(write).catch(this.#options.trouble));
  }

  #read(text: string): WarmJob | undefined {
    try {
      return WarmJob.read(text);
    } catch (error) {
      this.#options.trouble(error);
      return undefined;
    }
  }
}
