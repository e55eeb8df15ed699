/** What a bucket reports as it happens: for logs, metrics and the event stream. */
import type { QuotaErrorKind, Reason } from "./quota.ts";
import type { BucketState, Snapshot } from "./snapshot.ts";

export type QuotaEvent =
  /** The state of the bucket has changed. */
  | {
      readonly type: "state";
      readonly upstream: string;
      readonly from: BucketState;
      readonly to: BucketState;
    }
  /** A request may be sent. `cost` is in pulls, `waitedMs` is how long it waited. */
  | {
      readonly type: "granted";
      readonly upstream: string;
      readonly reason: Reason;
      readonly cost: number;
      readonly waitedMs: number;
    }
  /** A request that costs pulls was answered, or will not be; `cost` is what it cost in the end, as in the ledger. */
  | { readonly type: "spent"; readonly upstream: string; readonly reason: Reason; readonly cost: number }
  /** A request was not sent. `retryAfter` is in seconds. */
  | {
      readonly type: "refused";
      readonly upstream: string;
      readonly kind: QuotaErrorKind;
      readonly reason: Reason;
      readonly client: string;
      readonly repository: string;
      readonly message: string;
      readonly retryAfter: number;
    }
  | { readonly type: "sample"; readonly upstream: string; readonly snapshot: Snapshot }
  /** The ledger could not be written. Pulls that a limit counts are refused until it can. */
  | { readonly type: "ledger-failed"; readonly upstream: string; readonly error: unknown };

export type QuotaListener = (event: QuotaEvent) => void;
