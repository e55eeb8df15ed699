/** containerd: one `hosts.toml` for each registry (containerd's docs/hosts.md). */
import { knownRegistry } from "../../upstream/presets.ts";
import {
  authorityAt,
  authorityFile,
  quoted,
  signed,
  type NodeFile,
  type Runtime,
  type ClientSettings,
} from "./clientSettings.ts";

const folder = "/etc/containerd/certs.d";

// Long enough for one lost packet (it is sent again after 1 s), short enough that a dead mirror delays a pull little.
// containerd before 2.1 does not know the key and waits 30 s.
const dialTimeout = "3s";

export const containerd: Runtime = {
  folder,
  owns: /^(?:[^/]+\/hosts\.toml|hubcap-ca\.crt)$/,
  cannot: () => undefined,
  files: (client) => [
    ...authorityAt(folder, authorityFile, client),
    ...client.upstreams.map((upstream) => hostsFile(upstream, client)),
  ],
  advice: () => [],
};

function hostsFile(upstream: string, client: ClientSettings): NodeFile {
  const mirror = client.mirror.origin;
  const table = `host.${quoted(mirror)}`;
  // Hosts are asked in their order and `server` last. As the server, the mirror is the only one that is asked.
  const lines = client.fallback
    ? [
        `server = ${quoted(serverOf(upstream))}`,
        "",
        `[${table}]`,
        ...settings(client),
        ...headers(`${table}.header`, client),
      ]
    : [`server = ${quoted(mirror)}`, ...settings(client), ...headers("header", client)];
  return signed(folder, `${upstream}/hosts.toml`, lines);
}

function serverOf(upstream: string): string {
  return knownRegistry(upstream)?.url ?? `https://${upstream}`;
}

function settings({ ca }: ClientSettings): string[] {
  return [
    'capabilities = ["pull", "resolve"]',
    `dial_timeout = ${quoted(dialTimeout)}`,
    // Relative paths begin at the file's folder, so it holds wherever certs.d is.
    ...(ca === undefined ? [] : [`ca = ${quoted(`../${authorityFile}`)}`]),
  ];
}

function headers(table: string, { node, token }: ClientSettings): string[] {
  const set = [
    ...(node === undefined ? [] : [`X-Hubcap-Node = ${quoted(node)}`]),
    ...(token === undefined ? [] : [`Authorization = ${quoted(`Bearer ${token}`)}`]),
  ];
  return set.length === 0 ? [] : ["", `[${table}]`, ...set];
}
