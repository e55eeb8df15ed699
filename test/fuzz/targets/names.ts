/** Names of images and of platforms, and patterns of them, as operators and callers of the API write them. */
import { RegistryError } from "../../../src/oci/error.ts";
import { parseImage, referenceOf } from "../../../src/oci/image.ts";
import { mayMatch, matches, parsePattern } from "../../../src/oci/pattern.ts";
import { formatPlatform, parsePlatform } from "../../../src/oci/platform.ts";
import { formatImage } from "../../../src/oci/reference.ts";
import { must, parts, refusing, type FuzzTarget } from "../fuzzTarget.ts";

const routing = { upstreams: new Set(["docker.io", "localhost:5000"]), defaultUpstream: "docker.io" };

export const names: FuzzTarget = {
  seeds: [
    "nginx\ndocker.io/library/nginx:1.*\nlinux/amd64",
    "docker.io/org/team/app:v1\ndocker.io/**/app\nlinux/arm/v7",
    `localhost:5000/x@sha256:${"ab".repeat(32)}\n**:v*\nwindows/amd64`,
    `docker.io/x/${"a".repeat(200)}:1\ndocker.io/x/*a*a*a*b\nlinux`,
  ],
  run(data) {
    const [name = "", wanted = "", machine = ""] = parts(data, 3);
    const platform = parsePlatform(machine);
    must(!platform || parsePlatform(formatPlatform(platform)) !== undefined, "a platform can be written");
    const pattern = parsePattern(wanted);
    const image = refusing(RegistryError, () => parseImage(name, routing));
    if (!image) return;
    const reference = referenceOf(image);
    must(formatImage(image, reference).length > 0, "an image has a name");
    if (!pattern) return;
    const { tag, digest } = image;
    const isMatch =
      digest !== undefined && matches(pattern, { repository: image, digest, tags: tag ? [tag] : [] });
    must(!isMatch || mayMatch(pattern, image), "what matches may match");
  },
};
