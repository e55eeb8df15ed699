/** Time, as an argument of whatever needs it, so that tests and simulations can stand in for it. */
import { setTimeout as pause } from "node:timers/promises";

export interface Clock {
  /** Milliseconds since the epoch, by the wall clock, which may jump. */
  now(): number;
  /** Milliseconds since some fixed moment; never goes back. */
  elapsed(): number;
  /** Calls `run` once after `ms`, unless the returned function was called before. Keeps no process alive. */
  after(ms: number, run: () => void): () => void;
  /** Calls `run` every `ms` until the returned function is called. Keeps no process alive. */
  every(ms: number, run: () => void): () => void;
  /** Settles after `ms`, or when `signal` is aborted. Keeps no process alive. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The machine's own time. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms).unref();
    return () => clearTimeout(timer);
  },
  every: (ms, run) => {
    const timer = setInterval(run, ms).unref();
    return () => clearInterval(timer);
  },
  sleep: async (ms, signal) => {
    await pause(ms, undefined, { ref: false, ...(signal && { signal }) }).catch(() => {});
  },
};
