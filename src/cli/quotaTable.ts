/** The quotas as a table for people. */
import { styleText } from "node:util";
import { duration, bytesText } from "../async/text.ts";
import type { Snapshot, BucketState } from "../quota/snapshot.ts";

const heads = ["UPSTREAM", "ACCOUNT", "STATE", "LEFT", "SPENT", "PER HOUR", "EMPTY IN", "MORE IN", "SAVED"];
const stateColumn = heads.indexOf("STATE");

/** Only those that call for attention. */
const colours: Readonly<Partial<Record<BucketState, "yellow" | "red">>> = {
  low: "yellow",
  reserve: "yellow",
  exhausted: "red",
};

/** A table of `rows`, in colour where standard output is a terminal. `now` is the time that its times count from. */
export function quotaTable(rows: readonly Snapshot[], now: number): string {
  const cells = rows.map((row) => cellsOf(row, now));
  return table(heads, cells, (text, row, column) => {
    const colour = column === stateColumn ? colours[rows[row]?.state ?? "ok"] : undefined;
    return colour ? styleText(colour, text) : text;
  });
}

function cellsOf(row: Snapshot, now: number): string[] {
  const { name, account, state, rehearsal, saved } = row;
  return [
    name,
    account,
    rehearsal ? `${state} (rehearsing: ${rehearsal.mode})` : state,
    leftOf(row),
    `${row.spentInWindow} in ${duration(row.windowSeconds * 1000)}`,
    row.burnPerHour.toFixed(1),
    state === "exhausted" ? "now" : until(row.emptyAt, now),
    until(row.nextFreeAt, now),
    `${saved.pulls} pulls, ${bytesText(saved.bytes)}`,
  ];
}

function leftOf({ state, remaining, limit }: Snapshot): string {
  if (remaining === null) return state === "unlimited" ? "unlimited" : "unknown";
  return limit === null ? `${remaining}` : `${remaining} of ${limit}`;
}

function until(time: string | null, now: number): string {
  return time === null ? "-" : duration(Math.max(1000, Date.parse(time) - now));
}

/** Rows under their heads, each column as wide as it must be. `paint` colours a row's cell, padded as it is. */
export function table(
  heads: readonly string[],
  rows: readonly (readonly string[])[],
  paint: (text: string, row: number, column: number) => string = (text) => text,
): string {
  const widths = heads.map((head, at) => Math.max(head.length, ...rows.map((row) => row[at]?.length ?? 0)));
  const padded = [heads, ...rows].map((row) => widths.map((width, at) => (row[at] ?? "").padEnd(width)));
  return padded
    .map((cells, line) => (line === 0 ? cells : cells.map((text, at) => paint(text, line - 1, at))))
    .map((cells) => cells.join("  ").trimEnd())
    .join("\n");
}
