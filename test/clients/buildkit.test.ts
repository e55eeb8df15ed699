/** BuildKit, as `hubcap client-config buildkit` sets it up, builds from an image that only Hubcap's account can pay for. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, it, onTestFinished } from "vitest";
import { requireClient, withClient } from "../support/clients.ts";
import { writeClientConfig } from "../support/clients/clientConfig.ts";
import { Daemon, run, sealed } from "../support/clients/process.ts";
import { emptyFolder, openSetup, paid, paidOnce, pushImage, type Setup } from "./cluster.ts";

let setup: Setup;

beforeAll(async () => {
  setup = await openSetup({ "ghcr.io": "http://127.0.0.1:9" });
  return () => setup.close();
});

withClient("buildkitd", (client) => {
  it("builds from an image that it pulls through Hubcap", async () => {
    await pushImage(setup.hub, "library/base", "oci");
    setup.hub.counts.reset();
    const folder = await emptyFolder();
    await writeClientConfig("buildkit", `http://${setup.address}`, folder);
    await mkdir(join(folder, "context"));
    await writeFile(join(folder, "context/Dockerfile"), "FROM docker.io/library/base:1\nLABEL built=yes\n");
    const env = sealed(folder);
    const address = `unix://${join(folder, "buildkit.sock")}`;
    const buildctl = [requireClient("buildctl").path, "--addr", address] as const;
    const daemon = await Daemon.start(
      client.path,
      [
        `--config=${join(folder, "buildkitd.toml")}`,
        `--root=${join(folder, "root")}`,
        `--addr=${address}`,
        "--oci-worker-snapshotter=native",
        "--oci-worker-net=host",
        "--containerd-worker=false",
      ],
      { env, log: join(folder, "buildkitd.log"), ready: (log) => log.includes("running server on") },
    );
    onTestFinished(() => daemon.stop());

    const [program, ...options] = buildctl;
    const local = ["--local", `context=${folder}/context`, "--local", `dockerfile=${folder}/context`];
    const output = ["--output", `type=oci,dest=${join(folder, "image.tar")}`];
    await setup.watch(
      daemon.watch(
        run(program, [...options, "build", "--frontend", "dockerfile.v0", ...local, ...output], env),
      ),
    );
    expect(paid(setup.hub)).toEqual(paidOnce);
  });
});
