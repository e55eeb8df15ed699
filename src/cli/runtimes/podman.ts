/** podman, skopeo and buildah, and CRI-O with the same library: a drop-in for `registries.conf` (containers-registries.conf(5)). */
import { cannotNameNode, cannotShowToken } from "./limits.ts";
import {
  authorityAt,
  authorityFile,
  quoted,
  signed,
  type Runtime,
  type ClientSettings,
} from "./clientSettings.ts";

const folder = "/etc/containers";
const path = "registries.conf.d/50-hubcap.conf";

export const podman: Runtime = {
  folder,
  owns: /^(?:registries\.conf\.d\/50-hubcap\.conf|certs\.d\/[^/]+\/hubcap-ca\.crt)$/,
  cannot: (wish) => cannotNameNode(wish) ?? cannotShowToken(wish, `log in: podman login ${wish.mirror.host}`),
  files: (wish) => [
    signed(
      folder,
      path,
      wish.upstreams.flatMap((name) => registry(name, wish)),
    ),
    ...authorityAt(folder, `certs.d/${wish.mirror.host}/${authorityFile}`, wish),
  ],
  advice: () => [],
};

export const crio: Runtime = {
  ...podman,
  advice: () => ["CRI-O takes it up when it is told to: systemctl reload crio"],
};

// These clients send no `ns`: which registry is meant must stand in the path.
function registry(upstream: string, { mirror, fallback }: ClientSettings): string[] {
  const target = [
    `location = ${quoted(`${mirror.host}/${upstream}`)}`,
    ...(mirror.protocol === "http:" ? ["insecure = true"] : []),
  ];
  const head = ["", "[[registry]]", `prefix = ${quoted(upstream)}`];
  // A mirror is tried before the location; a location elsewhere takes the registry's place.
  return fallback
    ? [...head, `location = ${quoted(upstream)}`, "", "[[registry.mirror]]", ...target]
    : [...head, ...target];
}
