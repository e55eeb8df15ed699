/** What is behind a manifest: the platform that the node needs, and a first byte of a layer. The same steps on both ways. */
import { maxManifestBytes, type Descriptor, type Platform } from "../../oci/descriptor.ts";
import { readImageConfig } from "../../mirror/imageChecks.ts";
import type { Digest } from "../../oci/digest.ts";
import { readManifest, type Manifest } from "../../oci/manifest.ts";
import { formatPlatform, isPlatform } from "../../oci/platform.ts";
import type { Reference } from "../../oci/reference.ts";
import type { Journal, Way } from "./journal.ts";
import { Finding } from "./verdicts.ts";

/** A registry, as far as a pull reads it. Both throw Finding. */
export interface Source {
  manifest(reference: Reference): Promise<{ readonly bytes: Buffer; readonly mediaType: string }>;
  /** The first bytes of a blob, `limit` at most. */
  blob(digest: Digest, limit: number): Promise<Buffer>;
}

export interface InspectOptions {
  readonly journal: Journal;
  readonly way: Way;
  readonly source: Source;
  readonly reference: Reference;
  /** The image's whole name, for messages. */
  readonly name: string;
  readonly platform: Platform;
}

/** Reads what a node would read. The smallest layer, if the image has any. @throws Finding */
export async function inspect(options: InspectOptions): Promise<Descriptor | undefined> {
  const { journal, way, source, name, platform } = options;
  let image: Manifest | undefined;
  await journal.run(way, "platform", async () => {
    const root = await read(source, options.reference);
    if (root.kind === "image") {
      const own = await platformOf(root, source);
      if (own && !isPlatform(own, platform)) throw missing(name, platform, [own]);
      image = root;
      return own ? `it is one image, for ${formatPlatform(own)}` : "it is one image, which says no platform";
    }
    const child = root.children.find((entry) => entry.platform && isPlatform(entry.platform, platform));
    if (!child) {
      throw missing(
        name,
        platform,
        root.children.flatMap((entry) => entry.platform ?? []),
      );
    }
    image = await read(source, child.digest);
    return `${formatPlatform(platform)} is among its ${root.children.length} manifests`;
  });
  const [layer] = (image?.layers ?? []).toSorted((one, other) => one.size - other.size);
  if (!layer) journal.skip(way, "layer", "the image has no layers");
  else await touch(options, layer);
  return layer;
}

/** Reads the first byte of a layer, as a step. @throws Finding */
export async function touch(
  { journal, way, source }: Pick<InspectOptions, "journal" | "way" | "source">,
  layer: Descriptor,
): Promise<void> {
  await journal.run(way, "layer", async () => {
    const { length } = await source.blob(layer.digest, 1);
    if (length === 0 && layer.size > 0)
      throw new Finding("layer-unreachable", `no byte of ${layer.digest} came`);
    return `the first byte of ${layer.digest.slice(0, 19)} came`;
  });
}

async function read(source: Source, reference: Reference): Promise<Manifest> {
  const { bytes, mediaType } = await source.manifest(reference);
  try {
    return readManifest(bytes, mediaType);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Finding("upstream-broken", `what came as the manifest is none: ${why}`, { cause: error });
  }
}

/** What a single image says that it was built for. */
async function platformOf({ config }: Manifest, source: Source): Promise<Platform | undefined> {
  if (!config || config.size > maxManifestBytes) return undefined;
  return readImageConfig(await source.blob(config.digest, config.size)).platform;
}

function missing(name: string, wanted: Platform, there: readonly Platform[]): Finding {
  const names = [...new Set(there.map(formatPlatform))].filter((text) => !text.startsWith("unknown"));
  return new Finding(
    "platform-missing",
    `${name} is not built for ${formatPlatform(wanted)}, only for ${names.join(", ") || "nothing"}`,
  );
}
