/** k3s and RKE2: `registries.yaml`, of which they make containerd's files themselves. */
import { cannotSendHeaders } from "./headless.ts";
import { headOf, quoted, type NodeFile, type Runtime, type Wish } from "./wish.ts";

const folder = "/etc/rancher/k3s";
const caFile = "hubcap-ca.crt";

export const k3s: Runtime = {
  folder,
  owns: /^(?:registries\.yaml|hubcap-ca\.crt|config\.yaml\.d\/50-hubcap\.yaml)$/,
  cannot: cannotSendHeaders,
  files: (wish) => [
    file("registries.yaml", [
      "mirrors:",
      ...wish.upstreams.flatMap((name) => endpoint(name, wish)),
      ...trust(wish),
    ]),
    // Whether there is a way round the mirrors is a flag of the node.
    ...(wish.fallback
      ? []
      : [file("config.yaml.d/50-hubcap.yaml", ["disable-default-registry-endpoint: true"])]),
    ...(wish.ca === undefined ? [] : [file(caFile, [wish.ca.trimEnd()])]),
  ],
  advice: () => [
    "k3s reads it when it starts: systemctl restart k3s (or k3s-agent); RKE2 wants it in /etc/rancher/rke2",
  ],
};

function file(path: string, lines: readonly string[]): NodeFile {
  return { path, text: [headOf({ folder }, path), ...lines, ""].join("\n") };
}

function endpoint(upstream: string, { mirror }: Wish): string[] {
  return [`  ${quoted(upstream)}:`, "    endpoint:", `      - ${quoted(mirror.origin)}`];
}

function trust({ mirror, ca }: Wish): string[] {
  if (ca === undefined) return [];
  return [
    "configs:",
    `  ${quoted(mirror.host)}:`,
    "    tls:",
    `      ca_file: ${quoted(`${folder}/${caFile}`)}`,
  ];
}
