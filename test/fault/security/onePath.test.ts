/** One path that its upstream does not give costs whoever asks for it, and nobody else. */
import { setTimeout as wait } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { FaultAction } from "../../support/faults.ts";
import { buildImage } from "../../support/images.ts";
import { openSetup, type Setup } from "../../support/setup.ts";
import { askEvery20Ms } from "../../support/underAttack.ts";

let setup: Setup;

beforeEach(async () => {
  setup = await openSetup();
});
afterEach(() => setup.close());

async function pullNew(repository: string, tag: string): Promise<number> {
  setup.hub.push(
    await buildImage({ seed: `${repository}:${tag}`, platforms: ["linux/amd64"], single: true }),
    repository,
    tag,
  );
  return (await setup.manifest(repository, tag)).status;
}

const failures: readonly (readonly [string, FaultAction])[] = [
  ["answers with 503", { kind: "status", status: 503 }],
  ["answers with a reset", { kind: "reset" }],
  ["never answers", { kind: "hang" }],
];

const paths: readonly (readonly [string, () => string])[] = [
  ["one path", () => "/v2/library/app-3/manifests/broken"],
  ["many paths", () => `/v2/library/app-3/manifests/broken-${Math.random()}`],
];

test.each(
  failures.flatMap(([failing, failure]) =>
    paths.map(([many, path]) => [many, failing, failure, path] as const),
  ),
)(
  "96 cold pulls succeed while one client asks each 20 ms for %s that the upstream %s",
  async (_, __, failure, path) => {
    expect(await pullNew("library/app-3", "1")).toBe(200);
    setup.hub.fault({ ...failure, path: /\/broken/ });
    const stop = askEvery20Ms(() => `${setup.hubcap.url}${path()}?ns=docker.io`);
    await wait(500);
    setup.hub.counts.reset();
    const statuses: number[] = [];
    // Some of them of the very repository.
    for (let number = 0; number < 96; number += 1) {
      statuses.push(await pullNew(`library/app-${number % 8}`, `tag-${number}`));
      await wait(20);
    }
    setup.hub.faults.clear();
    await stop();
    expect(statuses).toEqual(Array(96).fill(200));
    // What we find out for ourselves is bounded, too.
    expect(setup.hub.counts.requests.filter(({ kind }) => kind === "ping").length).toBeLessThan(20);
  },
);

test("a path that answers 503 is asked for five times, and then once in five seconds", async () => {
  expect(await pullNew("library/app", "1")).toBe(200);
  const fault = setup.hub.fault({ kind: "status", status: 503, path: /\/manifests\/broken$/ });
  for (let time = 0; time < 20; time += 1)
    expect((await setup.manifest("library/app", "broken")).status).toBe(503);
  expect(fault.hits).toBe(5);
  await setup.advance(5000);
  for (let time = 0; time < 5; time += 1) await setup.manifest("library/app", "broken");
  expect(fault.hits).toBe(6);
  fault.remove();
  await setup.advance(5000);
  expect((await setup.manifest("library/app", "broken")).status).toBe(404);
});
