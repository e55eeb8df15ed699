/** Deterministic images and artifacts, as real clients accept them, with everything that they consist of. */
import { bytesContent, digestOf, type Content } from "./content.ts";
import { buildLayer, type Layer } from "./layers.ts";

/** A descriptor as image-spec's descriptor.md has it; `size` in bytes. */
export interface ContentDescriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: { readonly os: string; readonly architecture: string; readonly variant?: string };
  readonly annotations?: Readonly<Record<string, string>>;
  readonly artifactType?: string;
}

/** A manifest or an index, byte for byte. */
export interface ManifestBytes {
  readonly mediaType: string;
  readonly bytes: Buffer;
}

/** What can be pushed: a root manifest and all that it reaches, by digest. */
export interface Bundle {
  readonly root: ContentDescriptor;
  readonly manifests: ReadonlyMap<string, ManifestBytes>;
  readonly blobs: ReadonlyMap<string, Content>;
}

/** One platform of an image. The image ID that clients show is the digest of `config`. */
export interface PlatformImage {
  readonly manifest: ContentDescriptor;
  readonly config: ContentDescriptor;
  readonly layers: readonly ContentDescriptor[];
}

/** A multi-architecture image; its platforms by name, such as `linux/amd64`. */
export interface Image extends Bundle {
  readonly platforms: ReadonlyMap<string, PlatformImage>;
}

export interface ImageOptions {
  /** Images of different seeds differ in everything but their shared layers. Default `hubcap`. */
  readonly seed?: string;
  /** Layers of each platform. Default 2. */
  readonly layers?: number;
  /** Incompressible bytes in each layer. Default 4096. */
  readonly layerBytes?: number;
  /** How many of the layers, counted from the first, are the same in every image and platform. Default 0. */
  readonly sharedLayers?: number;
  /** Default `linux/amd64` and `linux/arm64`. */
  readonly platforms?: readonly string[];
  /** Without an index: the manifest of the first platform is the root. Default false. */
  readonly single?: boolean;
  /** `docker`: a manifest list of schema2 manifests. Default `oci`. */
  readonly type?: "oci" | "docker";
  /** Adds BuildKit's provenance child of each platform to the index. Default false. */
  readonly attestations?: boolean;
}

const types = {
  oci: {
    index: "application/vnd.oci.image.index.v1+json",
    manifest: "application/vnd.oci.image.manifest.v1+json",
    config: "application/vnd.oci.image.config.v1+json",
    layer: "application/vnd.oci.image.layer.v1.tar+gzip",
  },
  docker: {
    index: "application/vnd.docker.distribution.manifest.list.v2+json",
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
  },
} as const;

/** Collects a bundle while it is being built. */
class Packing {
  readonly manifests = new Map<string, ManifestBytes>();
  readonly blobs = new Map<string, Content>();

  manifest(mediaType: string, document: object): ContentDescriptor {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...document }, undefined, 2));
    const digest = digestOf(bytes);
    this.manifests.set(digest, { mediaType, bytes });
    return { mediaType, digest, size: bytes.length };
  }

  blob(mediaType: string, bytes: Uint8Array | string): ContentDescriptor {
    const content = bytesContent(bytes);
    const digest = digestOf(bytes);
    this.blobs.set(digest, content);
    return { mediaType, digest, size: content.size };
  }

  layer(mediaType: string, layer: Layer): ContentDescriptor {
    this.blobs.set(layer.digest, layer.content);
    return { mediaType, digest: layer.digest, size: layer.content.size };
  }
}

/** Builds an image in memory; layers over 4 MiB are made once in the temporary folder and read from there. */
export async function buildImage(options: ImageOptions = {}): Promise<Image> {
  const type = types[options.type ?? "oci"];
  const packing = new Packing();
  const platforms = new Map<string, PlatformImage>();
  const children: ContentDescriptor[] = [];
  for (const name of options.platforms ?? ["linux/amd64", "linux/arm64"]) {
    const [os = "linux", architecture = "amd64", variant] = name.split("/");
    const platform = { os, architecture, ...(variant === undefined ? {} : { variant }) };
    const layers = await layersOf(name, options);
    const config = packing.blob(type.config, JSON.stringify(configOf(platform, layers, options.seed)));
    const layerDescriptors = layers.map((layer) => packing.layer(type.layer, layer));
    const manifest = packing.manifest(type.manifest, { config, layers: layerDescriptors });
    platforms.set(name, { manifest, config, layers: layerDescriptors });
    children.push({ ...manifest, platform });
  }
  if (options.attestations === true) {
    children.push(...children.map((child) => attestationOf(packing, child)));
  }
  const [first] = platforms.values();
  const root =
    options.single && first ? first.manifest : packing.manifest(type.index, { manifests: children });
  return { root, manifests: packing.manifests, blobs: packing.blobs, platforms };
}

async function layersOf(platform: string, options: ImageOptions): Promise<Layer[]> {
  const { seed = "hubcap", layers = 2, layerBytes = 4096, sharedLayers = 0 } = options;
  const built: Layer[] = [];
  for (let number = 0; number < layers; number += 1) {
    const name = number < sharedLayers ? `shared ${number}` : `${seed} ${platform} ${number}`;
    built.push(await buildLayer(name, layerBytes));
  }
  return built;
}

function configOf(platform: object, layers: readonly Layer[], seed = "hubcap"): object {
  const created = "2026-01-01T00:00:00Z";
  return {
    created,
    ...platform,
    config: { Env: ["PATH=/bin"], Cmd: ["/bin/true"], Labels: { "hubcap.test.seed": seed } },
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.diffId) },
    history: layers.map((_, number) => ({ created, created_by: `layer ${number}` })),
  };
}

/** BuildKit's form: an image manifest of platform unknown/unknown that names the child it speaks of. */
function attestationOf(packing: Packing, child: ContentDescriptor): ContentDescriptor {
  const statement = JSON.stringify({
    _type: "https://in-toto.io/Statement/v0.1",
    predicateType: "https://slsa.dev/provenance/v0.2",
    subject: [{ name: "test", digest: { sha256: child.digest.slice(7) } }],
    predicate: {},
  });
  const layer = packing.blob("application/vnd.in-toto+json", statement);
  const config = packing.blob(
    types.oci.config,
    JSON.stringify({
      architecture: "unknown",
      os: "unknown",
      config: {},
      rootfs: { type: "layers", diff_ids: [layer.digest] },
    }),
  );
  const manifest = packing.manifest(types.oci.manifest, { config, layers: [layer] });
  return {
    ...manifest,
    platform: { os: "unknown", architecture: "unknown" },
    annotations: {
      "vnd.docker.reference.type": "attestation-manifest",
      "vnd.docker.reference.digest": child.digest,
    },
  };
}

export interface ArtifactOptions {
  readonly artifactType: string;
  /** The manifest that the artifact refers to, which makes it a referrer. */
  readonly subject?: ContentDescriptor;
  /** The artifact's one file. Default a short text. */
  readonly payload?: Uint8Array | string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Builds an artifact (image-spec manifest.md, "Guidelines for Artifact Usage"), with a subject: a signature or an SBOM, say. */
export function buildArtifact(options: ArtifactOptions): Bundle {
  const packing = new Packing();
  const config = packing.blob("application/vnd.oci.empty.v1+json", "{}");
  const file = packing.blob("application/octet-stream", options.payload ?? `a ${options.artifactType}\n`);
  // The name under which oras writes the file.
  const layer = { ...file, annotations: { "org.opencontainers.image.title": "payload" } };
  const { subject } = options;
  const root = packing.manifest(types.oci.manifest, {
    artifactType: options.artifactType,
    config,
    layers: [layer],
    ...(subject === undefined
      ? {}
      : { subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.size } }),
    annotations: options.annotations ?? {},
  });
  return { root, manifests: packing.manifests, blobs: packing.blobs };
}
