/**
 * Cases R48: a long and lossy way to the upstream. It would take `tc netem`, which few kernels of build machines
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

it("R48 pulls complete when every answer is 200 ms late and one connection for each image breaks", async () => {
  const images: Pushed[] = [];
  for (let number = 0; number < 8; number += 1) {
    images.push(await setup.push(`library/far${number}`, { layers: 4, layerBytes: 256 * 1024 }));
  }
  // Each breaks another image, so that no request can be broken twice, however they come to follow one another.
  const broken = images.map(({ repository, image }, number) => {
    const [first] = image.platforms.values();
    const layer = first?.layers[number % 4]?.digest ?? "";
    // Before the first byte of an answer, and in the middle of one.
    return number < 5
      ? setup.hub.fault({ origin: "registry", kind: "reset", repository, skip: 2 * number, times: 1 })
      : setup.hub.fault({
          origin: "cdn",
          kind: "reset",
          digest: layer,
          times: 1,
          ...(number > 5 && { after: 100_000 }),
        });
  });
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
