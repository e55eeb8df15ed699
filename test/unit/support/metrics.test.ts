/** Metrics are read as Prometheus writes them. */
import { expect, it } from "vitest";
import { sumOfMetric } from "../../support/metrics.ts";

const text = `# HELP pulls_total Pulls.
# TYPE pulls_total counter
pulls_total{outcome="hit",upstream="docker.io"} 3
pulls_total{outcome="hit",upstream="quay.io"} 4
pulls_total{outcome="miss",upstream="docker.io"} 10
# TYPE idle gauge
# TYPE seconds histogram
seconds_bucket{le="+Inf"} 2
seconds_sum 1.5
seconds_count 2
`;

it("sums the series with the given labels", () => {
  expect(sumOfMetric(text, "pulls_total", {})).toBe(17);
  expect(sumOfMetric(text, "pulls_total", { outcome: "hit" })).toBe(7);
  expect(sumOfMetric(text, "pulls_total", { upstream: "docker.io", outcome: "hit" })).toBe(3);
  expect(sumOfMetric(text, "pulls_total", { outcome: "it" })).toBe(0);
  expect(sumOfMetric(text, "seconds_sum", {})).toBe(1.5);
});

it("tells a metric without series from one that does not exist", () => {
  expect(sumOfMetric(text, "idle", {})).toBe(0);
  expect(() => sumOfMetric(text, "pull_total", {})).toThrow("there is no metric pull_total");
});
