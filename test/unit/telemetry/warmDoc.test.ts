/** docs/warm.md: the metrics and settings that it names are there. */
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { Metrics } from "../../../src/telemetry/metrics.ts";

test("every metric and setting that docs/warm.md names exists", async () => {
  const text = await readFile(new URL("../../../docs/warm.md", import.meta.url), "utf8");
  const settings = await readFile(new URL("../../../docs/configuration.md", import.meta.url), "utf8");
  const known = new Set((await new Metrics().registry.getMetricsAsJSON()).map(({ name }) => name));
  const metrics = new Set(text.match(/hubcap_[a-z_]+/g));
  expect([...metrics].filter((name) => !known.has(name))).toEqual([]);
  expect(metrics.size).toBe(4);
  const named = text.match(/`(?:warm|quota|storage|admin)\.[a-zA-Z.]+`/g) ?? [];
  expect(named.filter((name) => !settings.includes(`| ${name} |`))).toEqual([]);
  expect(named.length).toBeGreaterThan(3);
});
