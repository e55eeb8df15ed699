/** Talos: a patch of the machine configuration, which is applied by `talosctl` and not by a file on the node. */
import { cannotSendHeaders } from "./headless.ts";
import { headOf, quoted, type Runtime, type Wish } from "./wish.ts";

const path = "hubcap-talos.yaml";

export const talos: Runtime = {
  folder: undefined,
  owns: /^hubcap-talos\.yaml$/,
  cannot: cannotSendHeaders,
  files: (wish) => [
    {
      path,
      text: [
        headOf({ folder: undefined }, path),
        "machine:",
        "  registries:",
        "    mirrors:",
        ...wish.upstreams.flatMap((upstream) => mirror(upstream, wish)),
        ...trust(wish),
        "",
      ].join("\n"),
    },
  ],
  advice: () => [`apply it: talosctl patch machineconfig --nodes NODE --patch @${path}`],
};

function mirror(upstream: string, { mirror, fallback }: Wish): string[] {
  return [
    `      ${quoted(upstream)}:`,
    "        endpoints:",
    `          - ${quoted(mirror.origin)}`,
    ...(fallback ? [] : ["        skipFallback: true"]),
  ];
}

function trust({ mirror, ca }: Wish): string[] {
  if (ca === undefined) return [];
  const encoded = Buffer.from(ca).toString("base64");
  return ["    config:", `      ${quoted(mirror.host)}:`, "        tls:", `          ca: ${quoted(encoded)}`];
}
