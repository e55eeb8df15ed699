/** k3s and RKE2: `registries.yaml`, of which they make containerd's files themselves. */
import {
  cannotNameNode,
  authorityAt,
  authorityFile,
  quoted,
  signed,
  type Runtime,
  type ClientSettings,
} from "./clientSettings.ts";

export const k3s = rancher(
  "/etc/rancher/k3s",
  "k3s reads it when it starts: systemctl restart k3s, or k3s-agent",
);

export const rke2 = rancher(
  "/etc/rancher/rke2",
  "RKE2 reads it when it starts: systemctl restart rke2-server, or rke2-agent",
);

function rancher(folder: string, advice: string): Runtime {
  return {
    folder,
    owns: /^(?:registries\.yaml|hubcap-ca\.crt|config\.yaml\.d\/50-hubcap\.yaml)$/,
    cannot: cannotNameNode,
    files: (client) => [
      signed(folder, "registries.yaml", [
        "mirrors:",
        ...client.upstreams.flatMap((name) => endpoint(name, client)),
        ...trust(client, folder),
      ]),
      // Whether there is a way round the mirrors is a flag of the node.
      ...(client.fallback
        ? []
        : [signed(folder, "config.yaml.d/50-hubcap.yaml", ["disable-default-registry-endpoint: true"])]),
      ...authorityAt(folder, authorityFile, client),
    ],
    advice: () => [advice],
  };
}

function endpoint(upstream: string, { mirror }: ClientSettings): string[] {
  return [`  ${quoted(upstream)}:`, "    endpoint:", `      - ${quoted(mirror.origin)}`];
}

/** How the mirror is known, and what it is shown: a token is taken as the password of any user. */
function trust({ mirror, ca, token }: ClientSettings, folder: string): string[] {
  const lines = [
    ...(token === undefined
      ? []
      : ["    auth:", '      username: "token"', `      password: ${quoted(token)}`]),
    ...(ca === undefined ? [] : ["    tls:", `      ca_file: ${quoted(`${folder}/${authorityFile}`)}`]),
  ];
  return lines.length === 0 ? [] : ["configs:", `  ${quoted(mirror.host)}:`, ...lines];
}
