/** What is pulled in every measurement: one large blob, and manifests of an ordinary size. */
import { allBytes } from "../support/content.ts";
import { buildImage, type ImageOptions } from "../support/images.ts";
import type { HubProcess } from "../support/hubProcess.ts";

/** A path as containerd asks it of a mirror, and the body that must come. */
export interface Goods {
  readonly path: string;
  readonly bytes: Buffer;
}

/** The goods. A tag is asked for by HEAD and a digest by GET, as containerd does. */
export interface Shop {
  readonly blob: Goods & { readonly digest: string };
  /** The tag whose manifest names the blob. */
  readonly blobTag: Goods;
  readonly manifest: Goods;
  readonly manifestTag: Goods;
}

/** The repositories of the goods, which have the tag {@link tag} each. */
export const repositories = { blob: "library/blob", manifest: "library/manifest" } as const;
export const tag = "1";

const platform = "linux/amd64";
const media = { blob: "blobs", manifest: "manifests" } as const;

/** Puts the goods into the stand-in; the blob has `blobBytes` bytes and a little more. */
export async function stock(hub: HubProcess, blobBytes: number): Promise<Shop> {
  // Eight layers for two platforms make manifests of about two kilobytes, as many of Docker Hub's own images have.
  const orders: Readonly<Record<keyof typeof repositories, ImageOptions>> = {
    blob: { seed: "bench blob", layers: 1, layerBytes: blobBytes, platforms: [platform] },
    manifest: { seed: "bench manifest", layers: 8, layerBytes: 1024 },
  };
  for (const name of ["blob", "manifest"] as const) {
    await hub.order("push", { repository: repositories[name], tag, image: orders[name] });
  }
  const large = await buildImage(orders.blob);
  const small = await buildImage(orders.manifest);
  const digest = large.platforms.get(platform)?.layers[0]?.digest ?? "";
  const content = large.blobs.get(digest);
  const manifest = small.platforms.get(platform)?.manifest.digest ?? "";
  if (!content) throw new Error("the image has no layer");
  const goods = (
    of: keyof typeof repositories,
    kind: keyof typeof media,
    reference: string,
    bytes?: Buffer,
  ) => ({
    path: `/v2/${repositories[of]}/${media[kind]}/${reference}?ns=docker.io`,
    bytes: bytes ?? Buffer.alloc(0),
  });
  return {
    blob: { ...goods("blob", "blob", digest, await allBytes(content)), digest },
    blobTag: goods("blob", "manifest", tag, large.manifests.get(large.root.digest)?.bytes),
    manifest: goods("manifest", "manifest", manifest, small.manifests.get(manifest)?.bytes),
    manifestTag: goods("manifest", "manifest", tag, small.manifests.get(small.root.digest)?.bytes),
  };
}
