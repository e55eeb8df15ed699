/** What a client holds after a pull, in the terms of the image that was pulled. */

/** `manifest` is the digest that the tag stood for; `image` the image ID, the digest of this machine's platform's config. */
export interface Pulled {
  readonly manifest: string;
  readonly image: string;
}

/** The platform that runtimes on this machine choose. */
export const platform = `linux/${process.arch === "arm64" ? "arm64" : "amd64"}`;

interface Document {
  readonly manifests?: readonly {
    readonly digest: string;
    readonly platform?: { readonly os: string; readonly architecture: string };
  }[];
  readonly config?: { readonly digest: string };
}

/** The image ID that a stored manifest or index stands for, read as the client stored it. */
export async function imageIdOf(digest: string, read: (digest: string) => Promise<string>): Promise<string> {
  const document = JSON.parse(await read(digest)) as Document;
  if (document.config !== undefined) {
    return document.config.digest;
  }
  const child = document.manifests?.find(
    (entry) => `${entry.platform?.os}/${entry.platform?.architecture}` === platform,
  );
  if (child === undefined) {
    throw new Error(`${digest} has no manifest for ${platform}`);
  }
  return imageIdOf(child.digest, read);
}
