/** Cases R39, R40: what a client gets of a mirror that was killed and started again, with or without an upstream. */
import { afterEach, beforeEach, expect, it } from "vitest";
import { ask } from "../../support/ask.ts";
import { pullLikeContainerd } from "../../support/pull.ts";
import { openSetup, type Setup } from "../../support/setup.ts";

const mib = 1024 * 1024;

let setup: Setup;

beforeEach(async () => {
  setup = await openSetup();
});
afterEach(() => setup.close());

it("R39 a client whose mirror was killed under its download gets the rest from its successor", async () => {
  const pushed = await setup.pushLayer("library/app", 2 * mib);
  const half = setup.hub.fault({ origin: "cdn", asks: "blob", kind: "stall", after: mib });
  const reader = setup.read(pushed);
  await reader.reached(mib / 2);
  await setup.hubcap.kill9();
  const { received, complete, right } = await reader.ended;
  expect([complete, right]).toEqual([false, true]);
  half.release();
  await setup.hubcap.start();
  const { status, body } = await ask(setup.blobUrl(pushed), { headers: { range: `bytes=${received}-` } });
  expect([status, body.equals(pushed.bytes.subarray(received))]).toEqual([206, true]);
});

it("R40 a mirror that is started while its upstream is down is ready, and serves what it holds", async () => {
  const pushed = await setup.pushLayer("library/app", mib);
  const pull = () =>
    pullLikeContainerd({
      mirror: setup.hubcap.url,
      ns: "docker.io",
      repository: pushed.repository,
      reference: "1",
    });
  expect((await pull()).errors).toEqual([]);
  await setup.hubcap.stop();
  await setup.hub.stop();
  await setup.hubcap.start();
  const { errors, digests } = await pull();
  expect(errors).toEqual([]);
  expect(digests).toContain(pushed.layer.digest);
});
