/**
 * Lists again and again what the cluster uses. A list, not a watch: a few minutes' delay harms no one where an image stays
 * for ten after its last use, and a list holds no connection, no copy of all pods, and cannot miss an event.
 */
import type { Clock } from "../async/clock.ts";
import type { UsedImage } from "./pods.ts";

export interface RoundsOptions {
  /** Whole lists only. */
  readonly list: () => Promise<readonly UsedImage[]>;
  readonly everyMs: number;
  /** Called with each list. */
  readonly listed: (used: readonly UsedImage[]) => Promise<void> | void;
  /** Called with why there is none this time; the last one still holds. */
  readonly failed: (error: unknown) => void;
  readonly clock: Pick<Clock, "sleep">;
}

export class Rounds {
  readonly #options: RoundsOptions;
  readonly #closing = new AbortController();

  constructor(options: RoundsOptions) {
    this.#options = options;
  }

  /** Begins at once. */
  start(): void {
    void this.#run(this.#closing.signal);
  }

  close(): void {
    this.#closing.abort();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { list, listed, failed, everyMs, clock } = this.#options;
    while (!signal.aborted) {
      try {
        const used = await list();
        if (signal.aborted) return;
        await listed(used);
      } catch (error) {
        if (!signal.aborted) failed(error);
      }
      // Settles early when it is to end.
      await clock.sleep(everyMs, signal);
    }
  }
}
