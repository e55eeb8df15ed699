/** Opens a bucket's books where the last process left them. */
import { LedgerClock, type Clocks } from "./clock.ts";
import type { Ledger, SpentRow, SavedBucket } from "./ledger.ts";
import type { SavedPauses } from "./pauses.ts";
import { keepMs, type CarriedRow, type CarriedAnswer } from "./slidingWindow.ts";

export interface Restored {
  readonly clock: LedgerClock;
  readonly saved: SavedBucket | undefined;
  readonly rows: readonly (CarriedRow & Pick<SpentRow, "client">)[];
  readonly lastAnswer: CarriedAnswer | undefined;
  /** What upstreams' 429s still hold back. */
  readonly pauses: SavedPauses;
}

/** Reads what is left of `bucket`; whatever was in flight is settled, as failed. */
export async function restore(ledger: Ledger, bucket: string, clocks: Clocks): Promise<Restored> {
  const wall = clocks.now();
  const clock = new LedgerClock(clocks, (await ledger.latest(bucket)) ?? wall);
  const time = clock.time();
  // Nobody saw their answers. They count from now: they may have been sent as late as that.
  await ledger.recover(bucket, time);
  const standing = await ledger.state(bucket);
  // The wall clock may say that something is older than it seems; that it is younger is not believed.
  const expected = (at: number, settledAt: number): number => Math.min(settledAt, time + at - wall);
  // An upstream that never says what is left cannot bear the wall clock out: nothing comes back before it is let go.
  const isTold = standing?.observedAt !== undefined;
  // A pause ends when the wall clock says so, but lasts no longer than was left of it, wherever that clock is now.
  const ending = (until: number | undefined): number =>
    standing === undefined || until === undefined ? 0 : expected(standing.at + until - standing.time, until);
  const span = Math.max(keepMs, standing?.windowMs ?? 0);
  const rows = await ledger.rowsSince(bucket, time - span, exactSince(standing, time));
  return {
    clock,
    saved: standing,
    rows: rows.map(({ id, cost, time: settledAt, at, outcome, client }) => {
      return {
        id,
        cost,
        client,
        settledAt,
        expectedAt: isTold ? expected(at, settledAt) : settledAt,
        counted: outcome === "counted",
      };
    }),
    // The upstream's word counts from now as well: how long ago it was said is not known.
    lastAnswer:
      standing?.remaining === undefined
        ? undefined
        : {
            remaining: standing.remaining,
            since: standing.since,
            settledAt: time,
            expectedAt: expected(standing.at, time),
          },
    pauses: { pausedUntil: ending(standing?.pausedUntil), emptyUntil: ending(standing?.emptyUntil) },
  };
}

/** Since when each pull is looked at by itself: the others matter only if there is another limit, or a longer window, one day. */
function exactSince(standing: SavedBucket | undefined, now: number): number {
  return standing?.limit === undefined ? now + 1 : now - 2 * standing.windowMs;
}
