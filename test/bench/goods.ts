/** What is pulled in every measurement: one large blob, and manifests of an ordinary size. */
import { allBytes } from "../support/content.ts";
import { buildImage, type ContentDescriptor, type Image, type ImageOptions } from "../support/images.ts";
import type { HubProcess } from "../support/hubProcess.ts";

/** A path as containerd asks it of a mirror, and the body that must come. */
export interface Goods {
  readonly path: string;
  readonly digest: string;
  readonly bytes: Buffer;
}

/** An image for one platform. */
interface ImageGoods {
  /** The tag, whose answer is an index. */
  readonly tag: Goods;
  readonly manifest: Goods;
  readonly config: Goods;
  readonly layers: readonly Goods[];
}

/** The goods. */
export interface Shop {
  /** The only layer of its image, `blobImage`. */
  readonly blob: Goods;
  readonly blobImage: ImageGoods;
  /** An image whose manifests have an ordinary size. */
  readonly image: ImageGoods;
  /** An image of many small layers: who has served all of it has run its code some dozens of times. */
  readonly warmUp: ImageGoods;
}

/** The repositories of what is measured. As everywhere, the tag is {@link tag}. */
export const repositories = { blob: "library/blob", manifest: "library/manifest" } as const;
export const tag = "1";

const platform = "linux/amd64";

/** Puts the goods into the stand-in; the blob has `blobBytes` bytes and a little more. */
export async function stock(hub: HubProcess, blobBytes: number): Promise<Shop> {
  const put = async (repository: string, image: ImageOptions): Promise<ImageGoods> => {
    await hub.order("push", { repository, tag, image });
    return goodsOf(repository, await buildImage(image));
  };
  const blobImage = await put(repositories.blob, {
    seed: "bench blob",
    layers: 1,
    layerBytes: blobBytes,
    platforms: [platform],
  });
  const [blob] = blobImage.layers;
  if (!blob) throw new Error("the image has no layer");
  return {
    blob,
    blobImage,
    // Eight layers for two platforms make manifests of about two kilobytes, as many of Docker Hub's own images have.
    image: await put(repositories.manifest, { seed: "bench manifest", layers: 8, layerBytes: 1024 }),
    warmUp: await put("library/warm-up", {
      seed: "bench warm-up",
      layers: 50,
      layerBytes: 1024,
      platforms: [platform],
    }),
  };
}

/** All of an image, in the order in which it is pulled. */
export function wholeOf({ tag: tagged, manifest, config, layers }: ImageGoods): Goods[] {
  return [tagged, manifest, config, ...layers];
}

async function goodsOf(
  repository: string,
  { root, manifests, blobs, platforms }: Image,
): Promise<ImageGoods> {
  const own = platforms.get(platform);
  if (!own) throw new Error(`there is no image for ${platform}`);
  const manifestOf = ({ digest }: ContentDescriptor, reference = digest): Goods => ({
    path: `/v2/${repository}/manifests/${reference}?ns=docker.io`,
    digest,
    bytes: there(manifests, digest).bytes,
  });
  const blobOf = async ({ digest }: ContentDescriptor): Promise<Goods> => ({
    path: `/v2/${repository}/blobs/${digest}?ns=docker.io`,
    digest,
    bytes: await allBytes(there(blobs, digest)),
  });
  return {
    tag: manifestOf(root, tag),
    manifest: manifestOf(own.manifest),
    config: await blobOf(own.config),
    layers: await Promise.all(own.layers.map(blobOf)),
  };
}

function there<Kept>(kept: ReadonlyMap<string, Kept>, digest: string): Kept {
  const found = kept.get(digest);
  if (!found) throw new Error(`the image has no ${digest}`);
  return found;
}
