/** Manifests, as upstreams send them. */
import { parseDigest } from "../../../src/oci/digest.ts";
import { ManifestError, namesIn, readManifest } from "../../../src/oci/manifest.ts";
import { must, refusing, type FuzzTarget } from "../fuzzTarget.ts";

const [image, index] = ["manifest", "index"].map((kind) => `application/vnd.oci.image.${kind}.v1+json`);
const digest = `sha256:${"0123456789abcdef".repeat(4)}`;
const blob = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest, size: 1 };
const platform = { os: "linux", architecture: "arm", variant: "v7" };

function seed(type: string | undefined, document: object): string {
  return `${type}\n${JSON.stringify({ schemaVersion: 2, mediaType: type, ...document })}`;
}

export const manifest: FuzzTarget = {
  seeds: [
    seed(image, { config: blob, layers: [blob, blob], subject: blob, annotations: { a: "b" } }),
    seed(index, { manifests: [{ ...blob, mediaType: image, platform, artifactType: "x/y" }] }),
    seed("application/vnd.docker.distribution.manifest.v2+json", { config: blob, layers: [] }),
    seed("application/vnd.docker.distribution.manifest.list.v2+json", { manifests: [] }),
    `${image}; charset=utf-8\n{"schemaVersion":2,"config":{},"layers":[],"\\u006dediaType":"x","layers":[[[[]]]]}`,
  ],
  run(data) {
    const end = data.indexOf("\n");
    const [type, bytes] = [data.toString("latin1", 0, Math.max(0, end)), data.subarray(end + 1)];
    const read = refusing(ManifestError, () => readManifest(bytes, type));
    if (!read) return;
    const all = [
      ...read.children,
      ...read.layers,
      ...[read.config, read.subject].filter((each) => each !== undefined),
    ];
    for (const { digest, size } of all) {
      must(parseDigest(digest) === digest, "what a manifest names has a digest");
      must(Number.isSafeInteger(size) && size >= 0, "and a size");
    }
    must(namesIn(read).length <= all.length, "it names no more than it lists");
    const { manifests, layers, config } = JSON.parse(bytes.toString()) as Record<string, unknown>;
    must(read.kind === "index" ? !layers && !config : !manifests, "it is one kind of thing only");
  },
};
