/** Descriptors and the media types that Hubcap knows by name. */
import type { Digest } from "./digest.ts";

/** What a manifest says about content that it names (image-spec descriptor.md). `size` is in bytes. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: Platform;
}

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

export const ociIndex = "application/vnd.oci.image.index.v1+json";
export const ociManifest = "application/vnd.oci.image.manifest.v1+json";
export const dockerList = "application/vnd.docker.distribution.manifest.list.v2+json";
export const dockerManifest = "application/vnd.docker.distribution.manifest.v2+json";

/** Every manifest type that Hubcap accepts and serves. Upstreams convert manifests for clients that accept fewer, and so change the digest. */
export const manifestTypes: readonly string[] = [ociIndex, ociManifest, dockerList, dockerManifest];

/** Does a manifest of this type name others, one for each platform? */
export function isIndexType(mediaType: string | undefined): boolean {
  return mediaType === ociIndex || mediaType === dockerList;
}

/** The largest manifest that is accepted, in bytes: the least that the distribution-spec wants registries to support. */
export const maxManifestBytes = 4 * 1024 * 1024;
