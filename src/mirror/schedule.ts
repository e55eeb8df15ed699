/** Work that is done at the times of cron expressions, each in its own time zone. */
import { Cron } from "croner";

/** Something that is to be done again and again. */
export interface Planned {
  /** Minute, hour, day of the month, month, day of the week. */
  readonly expression: string;
  /** An IANA name, such as Europe/Berlin. */
  readonly timeZone: string;
  readonly run: () => void;
}

export interface ScheduleOptions {
  readonly now: () => number;
  /** Calls `look` every few seconds until the returned function is called. */
  readonly every: (look: () => void) => () => void;
}

/** Looks at the clock now and then, so that one that jumps or stands still for a night does no harm: what was missed is done once. */
export class Schedule {
  readonly #options: ScheduleOptions;
  readonly #planned: { readonly cron: Cron; readonly run: () => void; next: number | undefined }[];
  #latest: number;
  readonly #stop: () => void;

  constructor(planned: readonly Planned[], options: ScheduleOptions) {
    this.#options = options;
    this.#latest = options.now();
    this.#planned = planned.map(({ expression, timeZone, run }) => {
      const cron = new Cron(expression, { paused: true, mode: "5-part", timezone: timeZone });
      return { cron, run, next: nextRun(cron, this.#latest) };
    });
    this.#stop = options.every(() => this.#look());
  }

  /** When the next of all is due, in ms since the epoch. */
  get next(): number | undefined {
    const all = this.#planned.flatMap(({ next }) => next ?? []);
    return all.length > 0 ? Math.min(...all) : undefined;
  }

  close(): void {
    this.#stop();
  }

  #look(): void {
    const now = this.#options.now();
    const wasSetBack = now < this.#latest;
    this.#latest = now;
    for (const each of this.#planned) {
      const isDue = each.next !== undefined && each.next <= now;
      if (isDue || wasSetBack) each.next = nextRun(each.cron, now);
      if (isDue) each.run();
    }
  }
}

function nextRun(cron: Cron, now: number): number | undefined {
  return cron.nextRun(new Date(now))?.getTime();
}
