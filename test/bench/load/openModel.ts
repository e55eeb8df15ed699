/** Requests that come when the clock says so, however slow the answers are: what clients feel who know nothing of each other. */
import { setImmediate as turn } from "node:timers/promises";
import { Connection } from "./connection.ts";

/** Open before the first request is due; more are opened when all are waiting for an answer. */
const firstConnections = 32;

/**
 * Sends `perSecond` GET requests a second for `seconds`; the latency of each in milliseconds, counted from when it was due.
 * So a request that had to be sent late, because the server or this process was busy, counts as late.
 */
export async function latencies(
  url: string,
  path: string,
  perSecond: number,
  seconds: number,
): Promise<number[]> {
  await using open = new AsyncDisposableStack();
  const free: Connection[] = [];
  for (let count = 0; count < firstConnections; count += 1) {
    free.push(open.use(await Connection.open(url)));
  }
  const found: number[] = [];
  const send = async (due: number): Promise<void> => {
    const connection = free.pop() ?? open.use(await Connection.open(url));
    await connection.ask("GET", path);
    found.push(performance.now() - due);
    free.push(connection);
  };
  const sending: Promise<void>[] = [];
  const started = performance.now();
  while (sending.length < perSecond * seconds) {
    const due = started + (sending.length * 1000) / perSecond;
    if (performance.now() < due) {
      // Timers are a millisecond coarse, so the loop turns instead: this process has a core to itself.
      await turn();
    } else {
      sending.push(send(due));
    }
  }
  await Promise.all(sending);
  return found;
}
