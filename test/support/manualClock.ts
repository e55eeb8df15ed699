/** A clock that stands still until a test moves it. */
import type { Clock } from "../../src/async/clock.ts";

interface Timer {
  at: number;
  readonly everyMs: number | undefined;
  readonly run: () => void;
}

export class ManualClock implements Clock {
  #now: number;
  #elapsed = 0;
  readonly #timers = new Set<Timer>();

  constructor(now = Date.UTC(2026, 0, 1)) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  elapsed(): number {
    return this.#elapsed;
  }

  /** How many timers wait. */
  get waiting(): number {
    return this.#timers.size;
  }

  after(ms: number, run: () => void): () => void {
    return this.#add(ms, undefined, run);
  }

  every(ms: number, run: () => void): () => void {
    return this.#add(ms, ms, run);
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (signal?.aborted) return Promise.resolve();
    const cancel = this.#add(ms, undefined, resolve);
    signal?.addEventListener("abort", () => (cancel(), resolve()), { once: true });
    return promise;
  }

  /** Moves on by `ms`, running what is due on the way in its order, each followed by what that sets off. */
  async advance(ms: number): Promise<void> {
    const end = this.#elapsed + ms;
    for (;;) {
      const next = [...this.#timers].filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at)[0];
      this.#pass((next?.at ?? end) - this.#elapsed);
      if (!next) break;
      if (next.everyMs === undefined) this.#timers.delete(next);
      else next.at += next.everyMs;
      next.run();
      await new Promise(setImmediate);
    }
    await new Promise(setImmediate);
  }

  /** Sets the wall clock, as an operator or NTP does; timers do not notice. */
  set(now: number): void {
    this.#now = now;
  }

  #pass(ms: number): void {
    this.#elapsed += ms;
    this.#now += ms;
  }

  #add(ms: number, everyMs: number | undefined, run: () => void): () => void {
    const timer = { at: this.#elapsed + ms, everyMs, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }
}
