/** A registry that is no stand-in as the upstream: images go into a real docker-registry and come out through Hubcap. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { withClient } from "../support/clients.ts";
import { run, sealed } from "../support/clients/process.ts";
import { ReferenceRegistry } from "../support/clients/referenceRegistry.ts";
import type { Image } from "../support/images.ts";
import { openSetup, pushImage, whole, type Setup } from "./cluster.ts";
import { ways } from "./ways.ts";

const repository = "team/app";

withClient("docker-registry", (program) => {
  withClient("crane", (crane) => {
    let setup: Setup;
    let image: Image;

    const opened = new AsyncDisposableStack();

    beforeAll(async () => {
      const folder = await mkdtemp(join(tmpdir(), "hubcap-"));
      opened.defer(() => rm(folder, { recursive: true }));
      const registry = await ReferenceRegistry.start(program, { folder });
      opened.defer(() => registry.stop());
      setup = await openSetup({ "ghcr.io": registry.url });
      opened.defer(() => setup.close());
      image = await pushImage(setup.hub, repository, "oci");
      const source = `${new URL(setup.hub.url).host}/${repository}:1`;
      await run(crane.path, ["copy", source, `${registry.address}/${repository}:1`], sealed(folder));
    });
    afterAll(() => opened.disposeAsync());

    for (const { client: name, how, pull } of ways.filter((way) => way.hubOnly !== true)) {
      withClient(name, (client) => {
        it(`pulls ${how}`, async () => {
          const target = { mirror: setup.address, host: "ghcr.io", repository, suffix: ":1" };
          expect(await setup.watch(pull(client, target))).toEqual(whole(image));
        });
      });
    }
  });
});
