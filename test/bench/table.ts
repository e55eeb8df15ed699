/** Prints rows as a Markdown table that is also aligned for the eye. */
import type { Demand, Row, Series, Unit } from "./report.ts";
import { median } from "./statistics.ts";

const heads = ["what", "Hubcap", "beside", "ratio", "demanded", "verdict"];

/** The table, without a line break at its end. */
export function tableOf(rows: readonly Row[]): string {
  const cells = [heads, ...rows.map(cellsOf)];
  const widths = heads.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? "").length)));
  const lines = cells.map((row) => `| ${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(" | ")} |`);
  lines.splice(1, 0, `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`);
  return lines.join("\n");
}

function cellsOf(row: Row): string[] {
  if ("why" in row) return [row.what, "", "", "", "", `${row.verdict}: ${row.why}`];
  const { what, unit, hubcap, beside, ratio, demand, verdict } = row;
  return [
    what,
    shown(hubcap, unit),
    beside ? `${beside.server}: ${shown(beside, unit)}` : "",
    ratio !== undefined && Number.isFinite(ratio) ? ratio.toFixed(2) : "",
    demand ? demanded(demand, unit) : "",
    verdict,
  ];
}

function shown({ rounds }: Series, unit: Unit): string {
  return `${digits(median(rounds))} ${unit}`.trim();
}

function demanded({ of, sense, bound }: Demand, unit: Unit): string {
  const sign = sense === "at least" ? "≥" : "≤";
  return of === "ratio" ? `${sign} ${bound} ×` : `${sign} ${bound} ${unit}`.trim();
}

/** Three significant digits, but whole thousands as they are. */
function digits(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
