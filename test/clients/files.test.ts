/** What `hubcap client-config` makes for clients that are not here, and what the real ones do without a way round the mirror. */
import { join } from "node:path";
import { beforeAll, expect, it, onTestFinished } from "vitest";
import { withClient } from "../support/clients.ts";
import { writeClientConfig } from "../support/clients/clientConfig.ts";
import { Containerd } from "../support/clients/containerd.ts";
import { Podman } from "../support/clients/podman.ts";
import { emptyFolder, openSetup, pushImage, whole, type Setup } from "./cluster.ts";

let setup: Setup;

beforeAll(async () => {
  setup = await openSetup();
  return () => setup.close();
});

withClient("containerd-2", (client) => {
  it("tells the node's name with every pull, and goes nowhere else without fallback", async () => {
    const image = await pushImage(setup.hub, "library/named", "oci");
    const folder = await emptyFolder();
    const more = ["--node", "worker-7", "--no-fallback", "--upstream", "docker.io"];
    await writeClientConfig("containerd", `http://${setup.address}`, join(folder, "certs.d"), more);
    const containerd = await Containerd.start(client, { folder });
    onTestFinished(() => containerd.stop());

    const pull = containerd.pullForKubelet("docker.io/library/named:1");
    expect(await setup.watch(pull)).toEqual(whole(image));
    const requests = setup.logs().filter(({ repository }) => repository === "docker.io/library/named");
    expect(new Set(requests.map(({ client }) => client))).toEqual(new Set(["worker-7"]));

    const absent = containerd.pullForKubelet("docker.io/library/absent:1");
    await expect(absent).rejects.toThrow(setup.address);
    await expect(absent).rejects.not.toThrow("registry-1.docker.io");
  });
});

withClient("podman", (client) => {
  it("goes nowhere else without fallback", async () => {
    const image = await pushImage(setup.hub, "library/strict", "oci");
    const folder = await emptyFolder();
    const more = ["--no-fallback", "--upstream", "docker.io"];
    await writeClientConfig("podman", `http://${setup.address}`, join(folder, ".config/containers"), more);
    const podman = await Podman.prepare(client, { folder });
    expect(await setup.watch(podman.pull("docker.io/library/strict:1"))).toEqual(whole(image));

    const absent = podman.pull("docker.io/library/absent:1");
    await expect(absent).rejects.toThrow("manifest");
    await expect(absent).rejects.not.toThrow("registry-1.docker.io");
  });
});
