/** Reads from the ledger where the last process left a bucket. */
import type { Clock } from "../async/clock.ts";
import { LedgerClock, keepMs, type CarriedAnswer } from "./slidingWindow.ts";
import type { CarriedRow } from "./windowRows.ts";
import type { Ledger, SpentRow, SavedBucket } from "./ledger.ts";

/** What 429s held back when the last process ended; 0 is nothing. */
export interface SavedPauses {
  readonly pausedUntil: number;
  readonly emptyUntil: number;
}

export interface Restored {
  readonly clock: LedgerClock;
  readonly saved: SavedBucket | undefined;
  readonly rows: readonly (CarriedRow & Pick<SpentRow, "payer">)[];
  readonly lastAnswer: CarriedAnswer | undefined;
  /**
   * Since when the window counts as full, because pulls may be missing from a ledger that was restored; undefined when none are,
   * or when the upstream has said since what is left.
   */
  readonly fullSince: number | undefined;
  /** What the upstream's 429s still hold back. */
  readonly pauses: SavedPauses;
}

/** What the ledger has of `bucket`. Requests that were in flight are settled as failed. */
export async function restore(
  ledger: Ledger,
  bucket: string,
  systemClock: Pick<Clock, "now" | "elapsed">,
): Promise<Restored> {
  const wall = systemClock.now();
  const clock = new LedgerClock(systemClock, (await ledger.latest(bucket)) ?? wall);
  const time = clock.time();
  // Their answers are lost. They count from now: they may have been sent as late as that.
  await ledger.recover(bucket, time);
  const saved = await ledger.state(bucket);
  // The wall clock is believed when it says that something is older than it seems, not when it says younger.
  const expected = (at: number, settledAt: number): number => Math.min(settledAt, time + at - wall);
  // An upstream that never says what is left cannot correct a wrong wall clock: nothing comes back before it expires.
  const isReported = saved?.observedAt !== undefined;
  // A pause ends when the wall clock says so, but lasts no longer than was left of it, wherever that clock is now.
  const ending = (until: number | undefined): number =>
    saved === undefined || until === undefined ? 0 : expected(saved.at + until - saved.time, until);
  const unproven = await ledger.unproven(bucket, time, wall);
  const hasAnswered = saved?.remaining !== undefined && (saved.observedAt ?? 0) > (unproven?.at ?? 0);
  const span = Math.max(keepMs, saved?.windowMs ?? 0);
  const rows = await ledger.rowsSince(bucket, time - span, exactSince(saved, time));
  return {
    clock,
    saved,
    rows: rows.map(({ id, cost, time: settledAt, at, outcome, payer }) => {
      return {
        id,
        cost,
        payer,
        settledAt,
        expectedAt: isReported ? expected(at, settledAt) : settledAt,
        counted: outcome === "counted",
      };
    }),
    fullSince: hasAnswered ? undefined : unproven?.time,
    // The upstream's last answer counts from now as well: how old it is is not known.
    lastAnswer:
      saved?.remaining === undefined
        ? undefined
        : {
            remaining: saved.remaining,
            since: saved.since,
            settledAt: time,
            expectedAt: expected(saved.at, time),
          },
    pauses: { pausedUntil: ending(saved?.pausedUntil), emptyUntil: ending(saved?.emptyUntil) },
  };
}

/** Since when each pull is a row of its own: older ones matter only if the limit appears or the window grows. */
function exactSince(saved: SavedBucket | undefined, now: number): number {
  return saved?.limit === undefined ? now + 1 : now - 2 * saved.windowMs;
}
