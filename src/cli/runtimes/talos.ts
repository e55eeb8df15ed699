/** Talos: a patch of the machine configuration, which is applied by `talosctl` and not by a file on the node. */
import { cannotNameNode, quoted, signed, type Runtime, type ClientSettings } from "./clientSettings.ts";

const path = "hubcap-talos.yaml";

export const talos: Runtime = {
  folder: undefined,
  owns: /^hubcap-talos\.yaml$/,
  cannot: cannotNameNode,
  files: (client) => [
    signed(undefined, path, [
      "machine:",
      "  registries:",
      "    mirrors:",
      ...client.upstreams.flatMap((upstream) => mirror(upstream, client)),
      ...trust(client),
    ]),
  ],
  advice: () => [`apply it: talosctl patch machineconfig --nodes NODE --patch @${path}`],
};

function mirror(upstream: string, { mirror, fallback }: ClientSettings): string[] {
  return [
    `      ${quoted(upstream)}:`,
    "        endpoints:",
    `          - ${quoted(mirror.origin)}`,
    ...(fallback ? [] : ["        skipFallback: true"]),
  ];
}

/** How the mirror is known, and what it is shown: a token is taken as the password of any user. */
function trust({ mirror, ca, token }: ClientSettings): string[] {
  const encoded = ca === undefined ? undefined : Buffer.from(ca).toString("base64");
  const lines = [
    ...(token === undefined
      ? []
      : ["        auth:", '          username: "token"', `          password: ${quoted(token)}`]),
    ...(encoded === undefined ? [] : ["        tls:", `          ca: ${quoted(encoded)}`]),
  ];
  return lines.length === 0 ? [] : ["    config:", `      ${quoted(mirror.host)}:`, ...lines];
}
