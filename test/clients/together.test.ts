/** A cluster of many kinds of nodes: the first pull of an image is counted, the others cost nothing. */
import { beforeAll, expect, it } from "vitest";
import { withClient } from "../support/clients.ts";
import { pullWithCrane } from "../support/clients/copiers.ts";
import { emptyFolder, openSetup, paid, paidOnce, pushImage, whole, type Setup } from "./cluster.ts";
import { ways } from "./ways.ts";

let setup: Setup;

beforeAll(async () => {
  setup = await openSetup();
  return () => setup.close();
});

withClient("crane", (crane) => {
  for (const [number, { client: name, how, pull }] of ways.entries()) {
    withClient(name, (client) => {
      it(`pulls ${how} what crane has pulled, and Docker Hub hears nothing of it`, async () => {
        const repository = `library/shared-${number}`;
        const image = await pushImage(setup.hub, repository, "oci");
        const { counts } = setup.hub;
        counts.reset();
        await pullWithCrane(crane, `${setup.address}/${repository}:1`, await emptyFolder());
        expect(paid(setup.hub)).toEqual(paidOnce);

        counts.reset();
        const target = { mirror: setup.address, host: "docker.io", repository, suffix: ":1" };
        expect(await setup.watch(pull(client, target))).toEqual(whole(image));
        expect(counts.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([]);
      });
    });
  }
});
