/** The scrub: reads every blob again, slowly and for ever, and takes those out of service that have rotted. */
import { systemClock, type Clock } from "../../async/clock.ts";
import type { Reconciler } from "./reconcile.ts";
import type { BlobRow, Survey, ScrubMark } from "../catalog.ts";

export interface ScrubOptions {
  readonly survey: Survey;
  readonly reconciler: Reconciler;
  /** Bytes per second that are read at most. */
  readonly rate: number;
  /** How often each blob is read, in ms. */
  readonly every: number;
  /** Called with how many bytes were read of each blob. */
  readonly scrubbed: (bytes: number) => void;
  /** Called with the error that kept the scrub from going on; it tries again later. */
  readonly failed: (error: unknown) => void;
  readonly clock?: Clock;
}

/** How much progress a crash may cost, in ms: a write for every blob would be a write for every manifest too. */
const saveEveryMs = 5_000;

/** How long the scrub rests when there is nothing to do or something went wrong, in ms. */
const restMs = 60_000;

export class Scrub {
  readonly #options: Required<ScrubOptions>;
  #mark: ScrubMark | undefined;
  #savedAt = 0;

  constructor(options: ScrubOptions) {
    this.#options = { clock: systemClock, ...options };
  }

  /** Scrubs until `signal` is aborted. Where it stopped, the next process goes on. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        if (await this.step(signal)) continue;
      } catch (error) {
        if (!signal.aborted) this.#options.failed(error);
      }
      await this.#options.clock.sleep(restMs, signal);
    }
    if (this.#mark) await this.#options.survey.markScrub(this.#mark).catch(this.#options.failed);
  }

  /** Reads the next blob; false when the next round is not due yet. */
  async step(signal: AbortSignal): Promise<boolean> {
    const { survey, reconciler, every, clock, scrubbed } = this.#options;
    this.#mark ??= (await survey.scrubMark()) ?? { reached: "", beganAt: clock.now() };
    const mark = this.#mark;
    const [next] = await survey.page(mark.reached, 1);
    if (!next) {
      // A clock that went back must not put the next round off.
      if (mark.reached === "" || Math.abs(clock.now() - mark.beganAt) < every) return false;
      this.#mark = { reached: "", beganAt: clock.now() };
      return true;
    }
    try {
      const flaw = await reconciler.examine(next.digest, next.size, (bytes) => this.#pace(bytes, signal));
      if (flaw && (await this.#isHeld(next, mark.reached))) await reconciler.condemn(next.digest);
      scrubbed(next.size);
    } finally {
      // One that can be neither read nor taken out of service does not keep the others from being read.
      if (!signal.aborted) this.#mark = { reached: next.digest, beganAt: mark.beganAt };
    }
    if (Math.abs(clock.now() - this.#savedAt) >= saveEveryMs) {
      this.#savedAt = clock.now();
      await survey.markScrub(this.#mark);
    }
    return true;
  }

  /** It may have been removed, or fetched anew, while it was read. */
  async #isHeld({ digest, size }: BlobRow, after: string): Promise<boolean> {
    const [row] = await this.#options.survey.page(after, 1);
    return row?.digest === digest && row.size === size;
  }

  async #pace(bytes: number, signal: AbortSignal): Promise<void> {
    await this.#options.clock.sleep((bytes / this.#options.rate) * 1000, signal);
    signal.throwIfAborted();
  }
}
