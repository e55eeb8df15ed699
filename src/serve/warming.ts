/** Opens warming: orders of the API, the lists of the configuration, and what the cluster uses. */
import type { Clock } from "../async/clock.ts";
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
import type { Routing } from "../oci/target.ts";
import type { QuotaBucket } from "../quota/bucket.ts";
import type { Pins } from "../store/evict/pins.ts";
import type { WarmJobTable } from "../store/state.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";

/** How often schedules are checked, in ms. */
const checkEveryMs = 5_000;

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
  readonly clock: Clock;
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
    const { settings, buckets, table, log, metrics, draining, clock } = options;
    const fetched = (upstream: string, bytes: number): void => metrics.warmBytes.inc({ upstream }, bytes);
    this.warmer = new Warmer({
      images: new ImageWarmer({ ...options, fetched }),
      stateOf: (upstream) => buckets.get(upstream)?.state,
      table,
      concurrency: settings.concurrency,
      ended: (upstream, result) => metrics.warmImages.inc({ upstream, result }),
      over: (end) => logEnd(end, log),
      trouble: this.#failed,
      draining,
      now: () => clock.now(),
      pause: async (ms, signal) => {
        await clock.sleep(ms, signal);
        signal.throwIfAborted();
      },
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

  /** Continues the jobs that the last process left, and begins those of the configuration. */
  start(): void {
    const { settings, routing, clock } = this.#options;
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
        now: () => clock.now(),
        every: (check) => clock.every(checkEveryMs, check),
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
    const { settings, metrics, log, clock } = this.#options;
    const { every, namespaces, kubeconfig } = settings.fromCluster;
    this.#rounds = new Rounds({
      clock,
      list: () => listUsedImages({ kubeconfig, namespaces }),
      everyMs: every,
      listed: (used) => {
        metrics.clusterLists.inc({ result: "ok" });
        return this.#use(used);
      },
      failed: (error) => {
        metrics.clusterLists.inc({ result: "failed" });
        const reason = error instanceof Error ? error.message : String(error);
        log.warn({ reason }, "what the cluster uses cannot be listed; the pins of the last list stay");
      },
    });
    this.#rounds.start();
  }

  readonly #failed = (error: unknown): void =>
    this.#options.log.error({ err: error }, "warming failed unexpectedly");

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

/** The names were checked with the configuration. */
function imagesIn(texts: readonly string[], routing: Routing): WarmOrder["images"] {
  return texts.map((text) => {
    const image = parseImage(text, routing);
    return { repository: { upstream: image.upstream, name: image.name }, reference: referenceOf(image) };
  });
}

function logEnd({ job, held, failed, left }: WarmEnd, log: Log): void {
  const { id, order, state, items } = job;
  const reasons = new Set(items.flatMap(({ setback }) => setback?.error ?? []));
  const fields = { job: id, origin: order.origin, name: order.name, state, held, failed, left };
  const isWhole = failed + left === 0;
  log[isWhole ? "info" : "warn"](
    { ...fields, ...(isWhole ? {} : { reasons: [...reasons].slice(0, 5) }) },
    isWhole ? "warmed" : "not all images of a warm job are held",
  );
}
