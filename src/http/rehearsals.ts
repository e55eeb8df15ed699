/** Rehearsals of an outage: begun by an operator, ended by the clock, and said aloud both times. */
import type { QuotaBucket } from "../quota/bucket.ts";
import type { RehearsalMode } from "../quota/snapshot.ts";
import type { Log } from "../telemetry/log.ts";

type Rehearsable = Pick<QuotaBucket, "rehearse">;

export interface RehearsalsOptions {
  readonly log: Log;
  readonly now: () => number;
}

export class Rehearsals {
  readonly #options: RehearsalsOptions;
  readonly #ends = new Map<string, NodeJS.Timeout>();

  constructor(options: RehearsalsOptions) {
    this.#options = options;
  }

  /** Behaves for `minutes` as if `upstream`, whose bucket is given, were empty or down. 0 ends what is being rehearsed. */
  begin(upstream: string, bucket: Rehearsable, mode: RehearsalMode, minutes: number): void {
    clearTimeout(this.#ends.get(upstream));
    if (minutes === 0) return this.#end(upstream, bucket);
    const { log, now } = this.#options;
    const ms = minutes * 60_000;
    const until = now() + ms;
    bucket.rehearse(mode, until);
    this.#ends.set(upstream, setTimeout(() => this.#end(upstream, bucket), ms).unref());
    log.warn(
      { upstream, mode, until: new Date(until).toISOString() },
      `rehearsing that ${upstream} is ${mode}`,
    );
  }

  /** A bucket ends a rehearsal by itself, but says so only when it is asked something. */
  #end(upstream: string, bucket: Rehearsable): void {
    this.#ends.delete(upstream);
    bucket.rehearse("empty", 0);
    this.#options.log.warn({ upstream }, `the rehearsal of ${upstream} is over`);
  }
}
