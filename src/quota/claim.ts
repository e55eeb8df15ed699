/** A request on its way through the books, from its verdict until its answer. */
import type { Errand } from "./quota.ts";
import type { Row } from "./row.ts";

/** A request on its way through the books. */
export interface Claim {
  readonly errand: Errand;
  readonly row: Row;
  /** The same request in the guard's window, once it is about to be sent. */
  guarded?: Row;
}
