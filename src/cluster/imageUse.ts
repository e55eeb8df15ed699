/** From containers to images that can be pulled through: by digest if the runtime reports it, and only of configured upstreams. */
import { parseDigest } from "../oci/digest.ts";
import { RegistryError } from "../oci/error.ts";
import { parseImage, referenceOf, type Image } from "../oci/image.ts";
import { formatImage, formatRepository, type Reference, type Repository } from "../oci/reference.ts";
import type { UsedImage } from "./pods.ts";

/** An image that the cluster uses. */
export interface ClusterImage {
  /** Its full name, source host first; also a valid pattern for a pin. */
  readonly name: string;
  readonly repository: Repository;
  readonly reference: Reference;
}

/** The images that the cluster uses. */
export interface ClusterUse {
  readonly images: readonly ClusterImage[];
  /** Names without a configured upstream, and malformed ones. */
  readonly others: readonly string[];
}

/** Each image once, by name. `upstreams` are the source hosts that are served. */
export function imagesUsed(containers: Iterable<UsedImage>, upstreams: ReadonlySet<string>): ClusterUse {
  const images = new Map<string, ClusterImage>();
  const others = new Set<string>();
  for (const { image, imageId } of containers) {
    const asked = read(image, upstreams);
    if (!asked) {
      others.add(image);
      continue;
    }
    const repository = { upstream: asked.upstream, name: asked.name };
    const reference = asked.digest ?? pulled(asked, imageId, upstreams) ?? referenceOf(asked);
    const name = formatImage(repository, reference);
    images.set(name, { name, repository, reference });
  }
  return { images: [...images.values()], others: [...others] };
}

/** In a cluster, names without a host are Docker Hub's, whatever Hubcap's default upstream is. */
function read(text: string, upstreams: ReadonlySet<string>): Image | undefined {
  try {
    const image = parseImage(text, { upstreams, defaultUpstream: "docker.io" });
    return upstreams.has(image.upstream) ? image : undefined;
  } catch (error) {
    if (error instanceof RegistryError) return undefined;
    throw error;
  }
}

/**
 * The digest that the node pulled. Runtimes name an image by any repository that it was pulled from, and some by its
 * configuration alone: only what is said of the same repository is a digest that can be pulled there.
 */
function pulled(asked: Image, imageId: string | undefined, upstreams: ReadonlySet<string>) {
  const text = imageId?.replace(/^docker(?:-pullable)?:\/\//, "");
  if (!text?.includes("@") || !parseDigest(text.slice(text.indexOf("@") + 1))) return undefined;
  const known = read(text, upstreams);
  return known && formatRepository(known) === formatRepository(asked) ? known.digest : undefined;
}
