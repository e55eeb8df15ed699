/** What the stand-in has for the soak: images for all, and repositories of which the hostile clients alone ask. */
import { digestOf } from "../support/content.ts";
import type { HubProcess } from "../support/hubProcess.ts";

const ociIndex = "application/vnd.oci.image.index.v1+json";
const ociManifest = "application/vnd.oci.image.manifest.v1+json";

/** Images that are held from the beginning. */
export const held = Array.from({ length: 12 }, (_, number) => `library/held-${number}`);

/** Images with a layer of {@link largeBytes}. */
export const large = Array.from({ length: 6 }, (_, number) => `evil/large-${number}`);

const largeBytes = 16 * 1024 * 1024;

/** What is held and what it is capable of must not depend on how long the soak takes. */
export const capacity = "400MiB";

/** A source host beside docker.io, for what a registry says that is not Docker Hub. */
export const otherHost = "registry.example";

/** Puts everything on the stand-in's shelf, and gives the digest of each image. */
export async function stock(hub: HubProcess): Promise<Map<string, string>> {
  const digests = new Map<string, string>();
  for (const repository of held) digests.set(repository, await push(hub, repository));
  for (const repository of large) digests.set(repository, await push(hub, repository, largeBytes));
  await hub.order("fault", { kind: "status", status: 401, origin: "token", path: "evil(%2F|/)hidden" });
  await hub.order("fault", { kind: "status", status: 503, path: "^/v2/evil/broken" });
  const headers = { "retry-after": "21600" };
  await hub.order("fault", { kind: "status", status: 429, headers, path: "^/v2/evil/limited" });
  for (const [name, children] of [
    ["evil/wide", 900],
    ["evil/huge", 10_000],
  ] as const) {
    await hub.order("fault", { ...indexOf(name, children), path: `^/v2/${name}/manifests/` });
  }
  const tags = Array.from({ length: 50_000 }, (_, number) => `tag-${number}`);
  const body = JSON.stringify({ name: "evil/listed", tags });
  await hub.order("fault", {
    kind: "status",
    status: 200,
    headers: { "content-type": "application/json" },
    body,
    path: "^/v2/evil/listed/tags/list",
  });
  return digests;
}

/** Pushes an image as `repository:1`, and gives its digest. */
export async function push(hub: HubProcess, repository: string, layerBytes = 50_000): Promise<string> {
  const image = {
    seed: repository,
    layers: layerBytes > 1_000_000 ? 1 : 2,
    layerBytes,
    platforms: ["linux/amd64"],
  };
  return (await hub.order("push", { repository, tag: "1", image })).digest;
}

function indexOf(name: string, children: number) {
  const manifests = Array.from({ length: children }, (_, number) => ({
    mediaType: ociManifest,
    digest: digestOf(`${name} ${number}`),
    size: 500,
    platform: { os: "linux", architecture: "amd64" },
  }));
  const body = JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests });
  const headers = { "content-type": ociIndex, "docker-content-digest": digestOf(body) };
  return { kind: "status", status: 200, headers, body } as const;
}
