/** The part of the composition that fetches ahead: orders, the configuration's lists, and what the cluster uses. */
import { setTimeout as wait } from "node:timers/promises";
import { imagesUsed } from "../cluster/imageUse.ts";
import { listUsedImages, type UsedImage } from "../cluster/pods.ts";
import { Rounds } from "../cluster/rounds.ts";
import type { Config } from "../config/load.ts";
import { Schedule } from "../mirror/schedule.ts";
import { TooManyJobsError, Warmer, type WarmEnd } from "../mirror/warm.ts";
import { ImageWarmer, type ImageWarmerOptions } from "../mirror/warmImage.ts";
import type { WarmJobState, WarmOrder } from "../mirror/warmJob.ts";
import { parseImage, referenceOf } from "../oci/image.ts";
import { parsePattern, type Pattern } from "../oci/pattern.ts";
import { formatImage } from "../oci/reference.ts";
import type { Routing } from "../oci/routing.ts";
import type { QuotaBucket } from "../quota/bucket.ts";
import type { Pins } from "../store/evict/pins.ts";
import type { WarmJobTable } from "../store/state.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";

/** How often the clock is looked at for what is scheduled, in ms. */
const lookEveryMs = 5_000;

const unfinished: readonly WarmJobState[] = ["running", "waiting"];

export interface WarmingOptions extends Omit<ImageWarmerOptions, "fetched"> {
  readonly settings: Config["warm"];
  readonly routing: Routing;
  readonly buckets: ReadonlyMap<string, Pick<QuotaBucket, "state">>;
  readonly pins: Pick<Pins, "replace">;
  readonly table: WarmJobTable;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly draining: AbortSignal;
}

/** The images of lists with `pin: true`, as pins. */
export function pinsOf({ lists }: Config["warm"], routing: Routing): readonly Pattern[] {
  return lists
    .filter(({ pin }) => pin)
    .flatMap(({ images }) => imagesIn(images, routing))
    .flatMap(({ repository, reference }) => parsePattern(formatImage(repository, reference)) ?? []);
}

export class Warming {
  readonly warmer: Warmer;
  readonly #options: WarmingOptions;
  #schedule: Schedule | undefined;
  #rounds: Rounds | undefined;

  constructor(options: WarmingOptions) {
    this.#options = options;
    const { settings, buckets, table, log, metrics, draining } = options;
    const fetched = (upstream: string, bytes: number): void => metrics.warmBytes.inc({ upstream }, bytes);
    this.warmer = new Warmer({
      images: new ImageWarmer({ ...options, fetched }),
      stateOf: (upstream) => buckets.get(upstream)?.state,
      table,
      concurrency: settings.concurrency,
      ended: (upstream, result) => metrics.warmImages.inc({ upstream, result }),
      over: (end) => tell(end, log),
      trouble: this.#failed,
      draining,
      now: Date.now,
      pause: (ms, signal) => wait(ms, undefined, { signal, ref: false }),
    });
    metrics.beforeReading(() => {
      for (const state of unfinished) {
        metrics.warmJobs.set({ state }, this.warmer.jobs.filter((job) => job.state === state).length);
      }
    });
  }

  /** Reads what the last process left. */
  load(): Promise<void> {
    return this.warmer.load();
  }

  /** Goes on with what the last process left, and begins what the configuration says. */
  start(): void {
    const { settings, routing } = this.#options;
    this.warmer.start();
    const orders = settings.lists.map(({ images, platforms = settings.platforms, ...when }, index) => ({
      ...when,
      order: {
        origin: "configuration",
        name: `lists.${index}`,
        images: imagesIn(images, routing),
        platforms,
        wait: true,
      } satisfies WarmOrder,
    }));
    const planned = orders.flatMap(({ schedule, timeZone, order }) =>
      schedule === undefined
        ? []
        : [{ expression: schedule, timeZone, run: () => void this.#submit(order).catch(this.#failed) }],
    );
    if (planned.length > 0) {
      this.#schedule = new Schedule(planned, {
        now: Date.now,
        every: (look) => {
          const timer = setInterval(look, lookEveryMs).unref();
          return () => clearInterval(timer);
        },
      });
    }
    for (const { onStart, order } of orders) if (onStart) void this.#submit(order).catch(this.#failed);
    if (settings.fromCluster.enabled) this.#follow();
  }

  async close(): Promise<void> {
    this.#schedule?.close();
    this.#rounds?.close();
    await this.warmer.close();
  }

  #follow(): void {
    const { settings, metrics, log } = this.#options;
    const { every, namespaces, kubeconfig } = settings.fromCluster;
    this.#rounds = new Rounds({
      list: () => listUsedImages({ kubeconfig, namespaces }),
      everyMs: every,
      listed: (used) => {
        metrics.clusterLists.inc({ result: "ok" });
        return this.#use(used);
      },
      failed: (error) => {
        metrics.clusterLists.inc({ result: "failed" });
        const reason = error instanceof Error ? error.message : String(error);
        log.warn({ reason }, "what the cluster uses is not known anew; the pins of the last list stay");
      },
    });
    this.#rounds.start();
  }

  readonly #failed = (error: unknown): void =>
    this.#options.log.error({ err: error }, "warming met what it did not expect");

  async #use(used: readonly UsedImage[]): Promise<void> {
    const { routing, settings, pins, log } = this.#options;
    const { images, others } = imagesUsed(used, routing.upstreams);
    await pins.replace(
      "cluster",
      images.flatMap(({ name }) => parsePattern(name) ?? []),
    );
    log.debug({ images: images.length, others }, "listed what the cluster uses");
    if (images.length === 0) return;
    await this.#submit({
      origin: "cluster",
      name: "cluster",
      images,
      platforms: settings.platforms,
      wait: false,
    });
  }

  async #submit(order: WarmOrder): Promise<void> {
    const { log } = this.#options;
    const { origin, name } = order;
    if (this.warmer.isUnderWay(order)) {
      log.debug({ origin, name }, "still warming what was ordered before");
      return;
    }
    try {
      await this.warmer.submit(order);
    } catch (error) {
      if (!(error instanceof TooManyJobsError)) throw error;
      log.warn({ origin, name }, error.message);
    }
  }
}

/** Names that the configuration's own check has passed. */
function imagesIn(texts: readonly string[], routing: Routing): WarmOrder["images"] {
  return texts.map((text) => {
    const image = parseImage(text, routing);
    return { repository: { upstream: image.upstream, name: image.name }, reference: referenceOf(image) };
  });
}

function tell({ job, held, failed, left }: WarmEnd, log: Log): void {
  const { id, order, state, items } = job;
  const reasons = new Set(items.flatMap(({ setback }) => setback?.error ?? []));
  const fields = { job: id, origin: order.origin, name: order.name, state, held, failed, left };
  const isWhole = failed + left === 0;
  log[isWhole ? "info" : "warn"](
    { ...fields, ...(isWhole ? {} : { reasons: [...reasons].slice(0, 5) }) },
    isWhole ? "warmed" : "not all that was to be warmed is held",
  );
}
