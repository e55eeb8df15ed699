/** Buckets for questions that cost no pull: nothing is booked, but an upstream that asks for a pause is given one. */
import { openBucket, type QuotaBucket } from "./bucket.ts";
import type { Ledger } from "./ledger.ts";

/** Writes nothing down: there is nothing that would have to outlive the process. */
const forgetful: Ledger = {
  spend: async () => 0,
  settle: async () => {},
  recover: async () => {},
  rowsSince: async () => [],
  latest: async () => undefined,
  state: async () => undefined,
  keep: async () => {},
  refuse: async () => {},
  spendBy: async () => [],
  spendOver: async () => [],
  fold: async () => 0,
  forget: async () => {},
};

/** A bucket beside the account's, for what others than the account ask of `upstream` from the same address. */
export function openFreeBucket(upstream: string, beside: QuotaBucket): Promise<QuotaBucket> {
  const ledger = forgetful;
  return openBucket({ upstream, reserve: 0, low: 0, maxWaitMs: 5000, concurrency: 4, ledger, beside });
}
