/** BuildKit: `buildkitd.toml` (its docs/buildkitd.toml.md). */
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

const folder = "/etc/buildkit";
const path = "buildkitd.toml";

export const buildkit: Runtime = {
  folder,
  owns: /^(?:buildkitd\.toml|hubcap-ca\.crt)$/,
  cannot(client) {
    if (!client.fallback)
      return "always goes to the registry when a mirror fails, so there is no --no-fallback";
    return (
      cannotNameNode(client) ??
      cannotShowToken(client, `who builds logs in: docker login ${client.mirror.host}`)
    );
  },
  files: (client) => [
    signed(folder, path, registries(client)),
    ...authorityAt(folder, authorityFile, client),
  ],
  advice: () => ["buildkitd reads it when it starts; docker buildx create takes it as --buildkitd-config"],
};

function registries({ mirror, upstreams, ca }: ClientSettings): string[] {
  const mirrors = upstreams.flatMap((upstream) => [
    `[registry.${quoted(upstream)}]`,
    `mirrors = [${quoted(mirror.host)}]`,
    "",
  ]);
  const trust = [
    ...(mirror.protocol === "http:" ? ["http = true"] : []),
    ...(ca === undefined ? [] : [`ca = [${quoted(`${folder}/${authorityFile}`)}]`]),
  ];
  return trust.length === 0
    ? mirrors.slice(0, -1)
    : [...mirrors, `[registry.${quoted(mirror.host)}]`, ...trust];
}
