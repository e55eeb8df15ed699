/** Work in the background rests between its turns. */
import { setTimeout as pause } from "node:timers/promises";

/** Waits for `ms`, or until `signal` is aborted. It keeps no process alive. */
export async function rest(ms: number, signal: AbortSignal): Promise<void> {
  await pause(ms, undefined, { signal, ref: false }).catch(() => {});
}
