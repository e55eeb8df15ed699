/** How many pulls are traced is the operator's: no client has its own pulls traced, or hides them, by what it sends. */
import { afterEach, beforeEach, expect, it } from "vitest";
import { ask } from "../../support/ask.ts";
import { Collector } from "../../support/collector.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";

const spanId = "00f067aa0ba902b7";
/** The ids that a sampler which goes by them takes first and last. */
const lowest = `${"0".repeat(31)}1`;
const highest = "f".repeat(32);
const pulls = 60;

let collector: Collector;
let hub: Hub;
let hubcap: Hubcap;

beforeEach(async () => {
  collector = await new Collector().start();
  hub = await startHub();
  hub.push(await buildImage({ seed: "traced" }), "library/app", "1");
});
afterEach(async () => {
  await hubcap.dispose();
  await hub.stop();
  await collector.stop();
});

/** How many of the pulls with this header were traced, and in which trace. */
async function tracedOf(sampleRatio: string, traceparent: string) {
  const config = {
    upstreams: { "docker.io": upstreamOf(hub) },
    tracing: { endpoint: collector.url, sampleRatio },
  };
  hubcap = await startHubcap({ config });
  for (let pull = 0; pull < pulls; pull += 1)
    await ask(`${hubcap.url}/v2/library/app/manifests/1`, { headers: { traceparent } });
  await hubcap.stop();
  const spans = collector.spans.filter(({ name }) => name === "pull manifest");
  return { count: spans.length, traces: [...new Set(spans.map(({ traceId }) => traceId))] };
}

it.each([
  ["00", highest],
  ["01", lowest],
  ["01", highest],
])("traces a half of the pulls whose header has the flags %s and the id %s", async (flags, id) => {
  const { count, traces } = await tracedOf("50%", `00-${id}-${spanId}-${flags}`);
  // Neither none nor all, which by chance is once in 2^59.
  expect(count).toBeGreaterThan(0);
  expect(count).toBeLessThan(pulls);
  // What is traced is a part of the client's trace.
  expect(traces).toEqual([id]);
});

it("hides no pull from an operator who has all of them traced", async () => {
  expect((await tracedOf("100%", `00-${lowest}-${spanId}-00`)).count).toBe(pulls);
});
