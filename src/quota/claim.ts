/** A request on its way through the books, from its verdict until its answer. */
import type { QuotaRequest } from "./quota.ts";
import type { WindowRow } from "./row.ts";

/** A request on its way through the books. */
export interface Reservation {
  readonly request: QuotaRequest;
  readonly row: WindowRow;
  /** The same request in the guard's window, once it is about to be sent. */
  guardRow?: WindowRow;
}
