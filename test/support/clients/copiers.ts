/** Clients that fetch an image into a folder: skopeo, crane and oras. All take every platform. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "../clients.ts";
import { digestOf } from "../content.ts";
import { run, sealed } from "./process.ts";
import { imageIdOf, type Pulled } from "./pulled.ts";

/** skopeo asks the mirror that is named in `.config/containers` of `folder`. */
export async function pullWithSkopeo(client: Client, reference: string, folder: string): Promise<Pulled> {
  const image = join(folder, "image");
  await run(
    client.path,
    ["--insecure-policy", "copy", "--quiet", "--all", `docker://${reference}`, `dir:${image}`],
    sealed(folder),
  );
  const root = await readFile(join(image, "manifest.json"));
  const manifest = digestOf(root);
  return {
    manifest,
    image: await imageIdOf(manifest, (digest) =>
      digest === manifest
        ? Promise.resolve(root.toString())
        : readFile(join(image, `${digest.slice(7)}.manifest.json`), "utf8"),
    ),
  };
}

/** crane knows no mirrors: the reference names Hubcap itself. */
export async function pullWithCrane(client: Client, reference: string, folder: string): Promise<Pulled> {
  await run(client.path, ["pull", "--format=oci", reference, join(folder, "image")], sealed(folder));
  return readLayout(join(folder, "image"));
}

/** oras knows no mirrors: the reference names Hubcap itself. */
export async function pullWithOras(client: Client, reference: string, folder: string): Promise<Pulled> {
  const layout = join(folder, "image");
  await run(
    client.path,
    ["copy", "--no-tty", "--from-plain-http", reference, "--to-oci-layout", `${layout}:pulled`],
    sealed(folder),
  );
  return readLayout(layout);
}

/** image-spec's "Image Layout" with one image in it. */
async function readLayout(layout: string): Promise<Pulled> {
  const index = JSON.parse(await readFile(join(layout, "index.json"), "utf8")) as {
    manifests: readonly { readonly digest: string }[];
  };
  const manifest = index.manifests[0]?.digest ?? "";
  const read = (digest: string): Promise<string> =>
    readFile(join(layout, "blobs", digest.replace(":", "/")), "utf8");
  return { manifest, image: await imageIdOf(manifest, read) };
}
