/** The runtimes that `hubcap client-config` knows, by the word that is typed. */
import { buildkit } from "./buildkit.ts";
import { containerd } from "./containerd.ts";
import { docker } from "./docker.ts";
import { k3s, rke2 } from "./k3s.ts";
import { crio, podman } from "./podman.ts";
import { talos } from "./talos.ts";
import type { Runtime } from "./clientSettings.ts";

export const runtimes: ReadonlyMap<string, Runtime> = new Map(
  Object.entries({ containerd, crio, podman, docker, buildkit, k3s, rke2, talos }),
);
