/** The OCI image layout (image-spec image-layout.md): where its parts lie, and which images its index names. */
import type { Descriptor } from "./descriptor.ts";
import { algorithmOf, hexOf, parseDigest, type Digest } from "./digest.ts";
import { ociIndex } from "./descriptor.ts";
import { ManifestError, readManifest } from "./manifest.ts";

/** Marks a folder or archive as a layout. */
export const layoutFile = "oci-layout";
export const layoutMark = `{"imageLayoutVersion":"1.0.0"}`;
export const indexFile = "index.json";

/** The whole name of an image, source host included, as containerd and Docker write it. */
export const nameAnnotation = "io.containerd.image.name";

/** What one image of a layout is asked for by: skopeo and oras take the tag. */
export const refAnnotation = "org.opencontainers.image.ref.name";

export function blobPath(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
}

/** The digest of the blob at `path` of a layout, or undefined when no blob lies there. */
export function digestAt(path: string): Digest | undefined {
  const [, algorithm, hex] = /^blobs\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
  return parseDigest(`${algorithm}:${hex}`);
}

/** The text of `index.json`. */
export function writeLayoutIndex(manifests: readonly Descriptor[]): string {
  return JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests });
}

/** What `index.json` names. @throws ManifestError */
export function readLayoutIndex(bytes: Uint8Array): readonly Descriptor[] {
  const { children } = readManifest(bytes, ociIndex);
  if (children.length === 0) throw new ManifestError("an empty index.json");
  return children;
}

/** The name that a layout's index gives to an image, if it is one with a source host. */
export function nameOf({ annotations = {} }: Descriptor): string | undefined {
  return [annotations[nameAnnotation], annotations[refAnnotation]].find((name) => name?.includes("/"));
}
