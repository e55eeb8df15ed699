/** docs/quota.md: what it tells people to alert on is there. */
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { Metrics } from "../../../src/telemetry/metrics.ts";

test("every metric that docs/quota.md names exists", async () => {
  const text = await readFile(new URL("../../../docs/quota.md", import.meta.url), "utf8");
  const named = new Set(text.match(/hubcap_[a-z_]+/g));
  const known = new Set((await new Metrics().registry.getMetricsAsJSON()).map(({ name }) => name));
  expect([...named].filter((name) => !known.has(name))).toEqual([]);
  expect(named.size).toBeGreaterThan(5);
});

test("every setting that docs/quota.md names exists", async () => {
  const text = await readFile(new URL("../../../docs/quota.md", import.meta.url), "utf8");
  const settings = await readFile(new URL("../../../docs/configuration.md", import.meta.url), "utf8");
  const named = text.match(/`(?:quota|admin|upstreams)\.[a-zA-Z.<>]+`/g) ?? [];
  const sections = ["`upstreams.<host>.quota`"];
  expect(named.filter((name) => !settings.includes(`| ${name} |`) && !sections.includes(name))).toEqual([]);
  expect(named.length).toBeGreaterThan(5);
});
