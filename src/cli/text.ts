/** Text for people: tables. */

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
