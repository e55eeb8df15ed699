/** The OCI image layout (image-spec image-layout.md): paths of its parts, and the images that its index names. */
import { type Descriptor, ociIndex } from "./descriptor.ts";
import { algorithmOf, hexOf, parseDigest, type Digest } from "./digest.ts";
import { ManifestError, readManifest } from "./manifest.ts";

/** Marks a folder or archive as a layout. */
export const layoutFile = "oci-layout";
export const layoutMark = `{"imageLayoutVersion":"1.0.0"}`;
export const indexFile = "index.json";

/** The annotation with an image's full name, source host included, as containerd and Docker write it. */
export const nameAnnotation = "io.containerd.image.name";

/** The annotation by which skopeo and oras find an image: its tag. */
export const refAnnotation = "org.opencontainers.image.ref.name";

export function blobPath(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
}

/** The digest of the blob at `path` of a layout, or undefined when that is no blob's path. */
export function digestAt(path: string): Digest | undefined {
  const [, algorithm, hex] = /^blobs\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
  return parseDigest(`${algorithm}:${hex}`);
}

/** The text of `index.json`. */
export function writeLayoutIndex(manifests: readonly Descriptor[]): string {
  return JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests });
}

/** The images that `index.json` names. @throws ManifestError */
export function readLayoutIndex(bytes: Uint8Array): readonly Descriptor[] {
  const { children } = readManifest(bytes, ociIndex);
  if (children.length === 0) throw new ManifestError("an empty index.json");
  return children;
}

/** The image's name in a layout's index, if it has a source host. */
export function nameOf({ annotations = {} }: Descriptor): string | undefined {
  return [annotations[nameAnnotation], annotations[refAnnotation]].find((name) => name?.includes("/"));
}
