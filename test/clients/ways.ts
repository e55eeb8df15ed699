/** The ways in which people pull through Hubcap: which program, set up by `hubcap client-config`, and what it holds afterwards. */
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { Client, ClientName } from "../support/clients.ts";
import { writeClientConfig } from "../support/clients/clientConfig.ts";
import { Containerd } from "../support/clients/containerd.ts";
import { pullWithCrane, pullWithOras, pullWithSkopeo } from "../support/clients/copiers.ts";
import { Docker } from "../support/clients/docker.ts";
import { Podman } from "../support/clients/podman.ts";
import type { Pulled } from "../support/clients/pulled.ts";
import { emptyFolder } from "./cluster.ts";

/** What is pulled, in the words of an image reference, and through which Hubcap. */
export interface PullTarget {
  /** Host and port of Hubcap. */
  readonly mirror: string;
  readonly host: string;
  readonly repository: string;
  /** `:tag` or `@digest`. */
  readonly suffix: string;
}

export interface Way {
  readonly client: ClientName;
  /** Ends the sentence "containerd 2.1.9 pulls …". */
  readonly how: string;
  /** Whether it asks mirrors for Docker Hub's images only. */
  readonly hubOnly?: boolean;
  readonly pull: (client: Client, target: PullTarget) => Promise<Pulled>;
}

/** A new folder whose `below` holds what `hubcap client-config` writes for a runtime. */
async function nodeFor(runtime: string, { mirror }: PullTarget, below: string): Promise<string> {
  const folder = await emptyFolder();
  await writeClientConfig(runtime, `http://${mirror}`, join(folder, below));
  return folder;
}

/** Where podman and its kin look below the home of who runs them; for all of a machine it is /etc/containers. */
const containersFolder = ".config/containers";

function named({ host, repository, suffix }: PullTarget): string {
  return `${host}/${repository}${suffix}`;
}

async function containerd(client: Client, target: PullTarget): Promise<Containerd> {
  const daemon = await Containerd.start(client, { folder: await nodeFor("containerd", target, "certs.d") });
  onTestFinished(() => daemon.stop());
  return daemon;
}

const ctr = {
  how: "with ctr",
  pull: async (client: Client, target: PullTarget) => (await containerd(client, target)).pull(named(target)),
};

const kubelet = {
  how: "for a kubelet",
  pull: async (client: Client, target: PullTarget) =>
    (await containerd(client, target)).pullForKubelet(named(target)),
};

export const ways: readonly Way[] = [
  { client: "containerd", ...ctr },
  { client: "containerd", ...kubelet },
  { client: "containerd-2", ...ctr },
  { client: "containerd-2", ...kubelet },
  {
    client: "dockerd",
    how: "with registry-mirrors",
    hubOnly: true,
    async pull(client, target) {
      const docker = await Docker.start(client, { folder: await nodeFor("docker", target, "") });
      onTestFinished(() => docker.stop());
      return docker.pull(named(target));
    },
  },
  {
    client: "podman",
    how: "with registries.conf",
    async pull(client, target) {
      const folder = await nodeFor("podman", target, containersFolder);
      const podman = await Podman.prepare(client, { folder });
      return podman.pull(named(target));
    },
  },
  {
    client: "skopeo",
    how: "with registries.conf",
    async pull(client, target) {
      return pullWithSkopeo(client, named(target), await nodeFor("crio", target, containersFolder));
    },
  },
  {
    client: "crane",
    how: "by a name below Hubcap's",
    pull: async (client, target) =>
      pullWithCrane(client, `${target.mirror}/${named(target)}`, await emptyFolder()),
  },
  {
    client: "oras",
    how: "by a name below Hubcap's",
    pull: async (client, target) =>
      pullWithOras(client, `${target.mirror}/${named(target)}`, await emptyFolder()),
  },
];
