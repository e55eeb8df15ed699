/** podman, skopeo and buildah, and CRI-O with the same library: a drop-in for `registries.conf` (containers-registries.conf(5)). */
import {
  cannotNameNode,
  cannotShowToken,
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
  cannot: (client) =>
    cannotNameNode(client) ?? cannotShowToken(client, `log in: podman login ${client.mirror.host}`),
  files: (client) => [
    signed(
      folder,
      path,
      client.upstreams.flatMap((name) => registry(name, client)),
    ),
    ...authorityAt(folder, `certs.d/${client.mirror.host}/${authorityFile}`, client),
  ],
  advice: () => [],
};

export const crio: Runtime = {
  ...podman,
  advice: () => ["CRI-O takes it up with: systemctl reload crio"],
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
