/** The quotas as a table for people. */
import { styleText } from "node:util";
import { duration } from "../quota/refusal.ts";
import type { Snapshot, State } from "../quota/snapshot.ts";

const heads = ["UPSTREAM", "ACCOUNT", "STATE", "LEFT", "SPENT", "PER HOUR", "EMPTY IN", "MORE IN", "SAVED"];
const stateColumn = heads.indexOf("STATE");

/** Only those that call for attention. */
const colours: Readonly<Partial<Record<State, "yellow" | "red">>> = {
  low: "yellow",
  reserve: "yellow",
  exhausted: "red",
};

/** A table of `rows`, in colour where standard output is a terminal. `now` is the time that its times count from. */
export function quotaTable(rows: readonly Snapshot[], now: number): string {
  const cells = rows.map((row) => cellsOf(row, now));
  const widths = heads.map((head, index) =>
    Math.max(head.length, ...cells.map((line) => line[index]?.length ?? 0)),
  );
  const lines = cells.map((line, row) => {
    const colour = colours[rows[row]?.state ?? "ok"];
    return joined(line, widths, (text, column) =>
      colour && column === stateColumn ? styleText(colour, text) : text,
    );
  });
  return [joined(heads, widths, (text) => text), ...lines].join("\n");
}

function joined(
  line: readonly string[],
  widths: readonly number[],
  paint: (text: string, column: number) => string,
): string {
  return line
    .map((text, column) => paint(text.padEnd(widths[column] ?? 0), column))
    .join("  ")
    .trimEnd();
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
    `${saved.pulls} pulls, ${bytes(saved.bytes)}`,
  ];
}

function leftOf({ state, remaining, limit }: Snapshot): string {
  if (remaining === null) return state === "unlimited" ? "unlimited" : "unknown";
  return limit === null ? `${remaining}` : `${remaining} of ${limit}`;
}

function until(time: string | null, now: number): string {
  return time === null ? "-" : duration(Math.max(1000, Date.parse(time) - now));
}

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

function bytes(count: number): string {
  const power = Math.min(Math.floor(Math.log2(Math.max(1, count)) / 10), units.length - 1);
  return `${(count / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}
