/** Real clients pull images of Docker Hub through Hubcap: the whole image, paid for once, by the cluster's account. */
import { beforeAll, beforeEach, expect, it } from "vitest";
import { withClient } from "../support/clients.ts";
import { openSetup, paid, paidOnce, pushImage, whole, type Setup } from "./cluster.ts";
import { ways } from "./ways.ts";

let setup: Setup;

beforeAll(async () => {
  setup = await openSetup();
  return () => setup.close();
});
beforeEach(() => {
  setup.hub.counts.reset();
});

for (const [number, { client: name, how, pull }] of ways.entries()) {
  withClient(name, (client) => {
    it.each(["oci", "docker"] as const)(`pulls ${how}: an image of type %s, by tag`, async (type) => {
      const repository = `library/app-${number}-${type}`;
      const image = await pushImage(setup.hub, repository, type);
      const target = { mirror: setup.address, host: "docker.io", repository, suffix: ":1" };
      expect(await setup.watch(pull(client, target))).toEqual(whole(image));
      expect(paid(setup.hub)).toEqual(paidOnce);
    });

    it(`pulls ${how}: by digest, as a pinned workload does`, async () => {
      const repository = `library/pinned-${number}`;
      const image = await pushImage(setup.hub, repository, "oci");
      const target = {
        mirror: setup.address,
        host: "docker.io",
        repository,
        suffix: `@${image.root.digest}`,
      };
      expect(await setup.watch(pull(client, target))).toEqual(whole(image));
      expect(paid(setup.hub)).toEqual(paidOnce);
    });
  });
}
