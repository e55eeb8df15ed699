/** The ways in which people pull through Hubcap: which program, set up as README.md says, and what it holds afterwards. */
import { readFile } from "node:fs/promises";
import { onTestFinished } from "vitest";
import type { Client, ClientName } from "../support/clients.ts";
import { Containerd } from "../support/clients/containerd.ts";
import { pullWithCrane, pullWithOras, pullWithSkopeo } from "../support/clients/copiers.ts";
import { Docker } from "../support/clients/docker.ts";
import { Podman } from "../support/clients/podman.ts";
import type { Pulled } from "../support/clients/pulled.ts";
import { emptyFolder } from "./house.ts";

/** What is pulled, in the words of an image reference, and through which Hubcap. */
export interface Errand {
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
  readonly pull: (client: Client, errand: Errand) => Promise<Pulled>;
}

/** The text of a node's file as README.md shows it, with the address of a running Hubcap in it. */
export async function nodeFile(
  name: "hosts.toml" | "registries.conf" | "daemon.json",
  mirror: string,
): Promise<string> {
  const text = await readFile(new URL(`nodes/${name}`, import.meta.url), "utf8");
  return text.replaceAll("hubcap.example:5000", mirror);
}

function named({ host, repository, suffix }: Errand): string {
  return `${host}/${repository}${suffix}`;
}

async function containerd(client: Client, { mirror }: Errand): Promise<Containerd> {
  const hosts = await nodeFile("hosts.toml", mirror);
  const daemon = await Containerd.start(client, { folder: await emptyFolder(), hosts });
  onTestFinished(() => daemon.stop());
  return daemon;
}

const ctr = {
  how: "with ctr",
  pull: async (client: Client, errand: Errand) => (await containerd(client, errand)).pull(named(errand)),
};

const kubelet = {
  how: "for a kubelet",
  pull: async (client: Client, errand: Errand) =>
    (await containerd(client, errand)).pullForKubelet(named(errand)),
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
    async pull(client, errand) {
      const configuration = await nodeFile("daemon.json", errand.mirror);
      const docker = await Docker.start(client, { folder: await emptyFolder(), configuration });
      onTestFinished(() => docker.stop());
      return docker.pull(named(errand));
    },
  },
  {
    client: "podman",
    how: "with registries.conf",
    async pull(client, errand) {
      const registries = await nodeFile("registries.conf", errand.mirror);
      const podman = await Podman.prepare(client, { folder: await emptyFolder(), registries });
      return podman.pull(named(errand));
    },
  },
  {
    client: "skopeo",
    how: "with registries.conf",
    async pull(client, errand) {
      const registries = await nodeFile("registries.conf", errand.mirror);
      return pullWithSkopeo(client, named(errand), { folder: await emptyFolder(), registries });
    },
  },
  {
    client: "crane",
    how: "by a name below Hubcap's",
    pull: async (client, errand) =>
      pullWithCrane(client, `${errand.mirror}/${named(errand)}`, await emptyFolder()),
  },
  {
    client: "oras",
    how: "by a name below Hubcap's",
    pull: async (client, errand) =>
      pullWithOras(client, `${errand.mirror}/${named(errand)}`, await emptyFolder()),
  },
];
