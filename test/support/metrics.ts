/** Reads Prometheus' text format. */

export type MetricLabels = Readonly<Record<string, string>>;

/** The sum of a metric over all its series that have these labels. Throws when the text knows no such metric. */
export function sumOfMetric(text: string, name: string, labels: MetricLabels): number {
  let sum = 0;
  for (const line of text.split("\n")) {
    const groups = /^(?<name>[a-zA-Z_:][\w:]*)(?:\{(?<labels>.*)\})? (?<value>\S+)/.exec(line)?.groups;
    if (groups?.["name"] === name && hasAll(groups["labels"] ?? "", labels)) {
      sum += Number(groups["value"]);
    }
  }
  // A histogram's series carry suffixes that its TYPE line does not.
  const family = name.replace(/_(?:bucket|sum|count)$/, "");
  if (!text.includes(`# TYPE ${name} `) && !text.includes(`# TYPE ${family} `)) {
    throw new Error(`there is no metric ${name}`);
  }
  return sum;
}

function hasAll(written: string, labels: MetricLabels): boolean {
  return Object.entries(labels).every(([label, value]) =>
    `,${written},`.includes(`,${label}="${value.replaceAll(/["\\]/g, String.raw`\$&`)}",`),
  );
}
