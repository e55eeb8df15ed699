/** containerd 2.1 can fetch one layer by many open-ended ranges at once; upstream must still send it once. */
import { join } from "node:path";
import { beforeAll, expect, it, onTestFinished } from "vitest";
import { withClient } from "../support/clients.ts";
import { writeClientConfig } from "../support/clients/clientConfig.ts";
import { Containerd } from "../support/clients/containerd.ts";
import { platform } from "../support/clients/pulled.ts";
import { buildImage } from "../support/images.ts";
import { emptyFolder, openSetup, whole, type Setup } from "./cluster.ts";

const MiB = 1024 * 1024;
const repository = "library/large";
let setup: Setup;

beforeAll(async () => {
  setup = await openSetup();
  return () => setup.close();
});

withClient("containerd-2", (client) => {
  it("fetches a cold layer in pieces, and each byte comes from upstream once", async () => {
    const image = await buildImage({ seed: repository, layers: 1, layerBytes: 8 * MiB });
    setup.hub.push(image, repository, "1");
    const folder = await emptyFolder();
    await writeClientConfig("containerd", `http://${setup.address}`, join(folder, "certs.d"));
    const containerd = await Containerd.start(client, { folder, layerPieces: MiB });
    onTestFinished(() => containerd.stop());

    const pulled = await setup.watch(containerd.pullForKubelet(`docker.io/${repository}:1`));
    expect(pulled).toEqual(whole(image));
    const layer = image.platforms.get(platform)?.layers[0];
    const served = setup.logs().filter(({ reference }) => reference === layer?.digest);
    expect(served.length).toBeGreaterThan(2);
    const fetched = setup.hub.counts.requests.filter(
      ({ origin, digest }) => origin === "cdn" && digest === layer?.digest,
    );
    expect(fetched.map(({ headers, bytes }) => ({ range: headers.range, bytes }))).toEqual([
      { range: undefined, bytes: layer?.size },
    ]);
  });
});
