/** Text for people: tables and sizes. */

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

/** `1.5 GiB` for 1610612736. */
export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const amount = bytes / 1024 ** power;
  return `${power === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${units[power]}`;
}
