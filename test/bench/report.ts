/** What was found: one row for each figure, what is demanded of it, and whether it is met. */
import { median } from "./statistics.ts";

/** `GB` and `MB` are powers of ten; `CPU-s/GB` is seconds of user and system time for a gigabyte that was served. */
export type Unit = "GB/s" | "CPU-s/GB" | "1/s" | "ms" | "s" | "MB" | "";

/** What a server reached in each round, in the order of the rounds. */
export interface Series {
  readonly server: string;
  readonly rounds: readonly number[];
}

/** What is demanded of a figure: of Hubcap's own median, or of its ratio to the median of the server beside it. */
export interface Demand {
  readonly of: "figure" | "ratio";
  readonly sense: "at least" | "at most";
  readonly bound: number;
}

/** A figure that was measured. */
export interface Measured {
  readonly what: string;
  readonly unit: Unit;
  readonly hubcap: Series;
  /** Needed by a demand of the ratio; otherwise shown to say what the figure is worth. */
  readonly beside?: Series;
  /** Absent for what is shown and not judged. */
  readonly demand?: Demand;
}

/** A row of the report. Without figures, `why` says what kept them from being measured. */
export type Row =
  | (Measured & { readonly verdict: "met" | "short" | "shown"; readonly ratio: number | undefined })
  | { readonly what: string; readonly verdict: "skipped" | "failed"; readonly why: string };

/** The row of a figure. What is no number meets no demand. */
export function judge(measured: Measured): Row {
  const { hubcap, beside, demand } = measured;
  const figure = median(hubcap.rounds);
  const ratio = beside && figure / median(beside.rounds);
  if (!demand) return { ...measured, ratio, verdict: "shown" };
  const judged = demand.of === "ratio" ? (ratio ?? Number.NaN) : figure;
  const met = demand.sense === "at least" ? judged >= demand.bound : judged <= demand.bound;
  return { ...measured, ratio, verdict: met ? "met" : "short" };
}

/** The exit code of a report: 0 only when nothing is short and nothing failed. */
export function exitCodeOf(rows: readonly Row[]): number {
  return rows.some(({ verdict }) => verdict === "short" || verdict === "failed") ? 1 : 0;
}
