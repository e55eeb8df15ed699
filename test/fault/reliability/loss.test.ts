/**
 * Faults.md R48: a long and lossy way to the upstream. It would take `tc netem`, which few kernels of build machines
 * have; what a program sees of it are late answers and broken connections, and those the stand-in makes as well.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { pullLikeContainerd } from "../../support/pull.ts";
import { openSetup, type Setup, type Pushed } from "../../support/setup.ts";

let setup: Setup;

beforeAll(async () => {
  setup = await openSetup();
});
afterAll(() => setup.close());

it("R48 pulls complete when every answer is 200 ms late and every 20th connection breaks", async () => {
  const images: Pushed[] = [];
  for (let number = 0; number < 8; number += 1) {
    images.push(await setup.push(`library/far${number}`, { layers: 4, layerBytes: 256 * 1024 }));
  }
  const broken = [
    // Before the first byte of an answer, and in the middle of one.
    ...[0, 1, 2, 3, 4].map((n) =>
      setup.hub.fault({ origin: "registry", kind: "reset", skip: 10 + n * 20, times: 1 }),
    ),
    ...[0, 1, 2].map((n) =>
      setup.hub.fault({
        origin: "cdn",
        kind: "reset",
        skip: 5 + n * 20,
        times: 1,
        ...(n % 2 === 0 && { after: 100_000 }),
      }),
    ),
  ];
  setup.hub.fault({ kind: "delay", ms: 200 });
  const pulls = await Promise.all(
    images.flatMap(({ repository }) =>
      ["linux/amd64", "linux/arm64"].map((platform) =>
        pullLikeContainerd({
          mirror: setup.hubcap.url,
          ns: "docker.io",
          repository,
          reference: "1",
          platform,
        }),
      ),
    ),
  );
  expect(pulls.flatMap(({ errors }) => errors)).toEqual([]);
  expect(pulls.map(({ statuses }) => Object.keys(statuses))).toEqual(pulls.map(() => ["200"]));
  expect(broken.map(({ hits }) => hits)).toEqual(broken.map(() => 1));
});
