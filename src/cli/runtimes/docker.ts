/** Docker Engine: `registry-mirrors` of `daemon.json`, which serve Docker Hub's images only. */
import {
  cannotNameNode,
  cannotShowToken,
  authorityAt,
  authorityFile,
  dockerLabel,
  type Runtime,
} from "./clientSettings.ts";

const folder = "/etc/docker";

export const docker: Runtime = {
  folder,
  owns: /^(?:daemon\.json|certs\.d\/[^/]+\/hubcap-ca\.crt)$/,
  cannot(client) {
    if (client.upstreams.some((upstream) => upstream !== "docker.io")) {
      return "asks mirrors for docker.io only, so --upstream can name nothing else";
    }
    if (!client.fallback)
      return "always goes to Docker Hub when a mirror fails, so there is no --no-fallback";
    return cannotNameNode(client) ?? cannotShowToken(client, "let it in by its network");
  },
  files(client) {
    const { mirror } = client;
    const text = `{ "labels": ["${dockerLabel}"],\n  "registry-mirrors": ["${mirror.origin}"]\n}\n`;
    return [
      { path: "daemon.json", text },
      ...authorityAt(folder, `certs.d/${mirror.host}/${authorityFile}`, client),
    ];
  },
  advice: () => [
    "Docker Engine mirrors docker.io only; images of other registries are pulled from there",
    "Docker Engine takes it up with: systemctl reload docker",
  ],
};
