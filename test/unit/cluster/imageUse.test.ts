/** From containers to images: by digest where that can be pulled, and only where Hubcap serves. */
import { expect, test } from "vitest";
import { imagesUsed } from "../../../src/cluster/imageUse.ts";

const digest = `sha256:${"a".repeat(64)}`;
const other = `sha256:${"b".repeat(64)}`;
const served = new Set(["docker.io", "ghcr.io"]);

function used(image: string, imageId?: string): string | undefined {
  return imagesUsed([{ image, imageId }], served).images[0]?.name;
}

test.each([
  // containerd, CRI-O, and Docker's shim.
  ["nginx:1", `docker.io/library/nginx@${digest}`, `docker.io/library/nginx@${digest}`],
  ["docker.io/library/nginx", `docker.io/library/nginx@${digest}`, `docker.io/library/nginx@${digest}`],
  ["nginx:1", `docker-pullable://nginx@${digest}`, `docker.io/library/nginx@${digest}`],
  // The digest of a configuration cannot be pulled, and what another repository calls it may be another manifest.
  ["nginx:1", digest, "docker.io/library/nginx:1"],
  ["nginx:1", `docker://${digest}`, "docker.io/library/nginx:1"],
  ["nginx:1", `ghcr.io/mirror/nginx@${digest}`, "docker.io/library/nginx:1"],
  // What the pod itself names wins.
  [`nginx:1@${other}`, `docker.io/library/nginx@${digest}`, `docker.io/library/nginx@${other}`],
  ["ghcr.io/org/app:v2", undefined, "ghcr.io/org/app:v2"],
  ["nginx", "", "docker.io/library/nginx:latest"],
])("%s that is %s is used as %s", (image, imageId, name) => {
  expect(used(image, imageId)).toBe(name);
});

test("each image counts once, and what is not served is named", () => {
  const containers = [
    { image: "nginx:1", imageId: undefined },
    { image: "docker.io/library/nginx:1", imageId: undefined },
    { image: "registry.example/app:1", imageId: undefined },
    { image: "registry.example/app:1", imageId: undefined },
    { image: "Not An Image", imageId: undefined },
  ];
  const { images, others } = imagesUsed(containers, served);
  expect(images.map(({ name }) => name)).toEqual(["docker.io/library/nginx:1"]);
  expect(others).toEqual(["registry.example/app:1", "Not An Image"]);
});

test("a name without a host is Docker Hub's, and is left out where that is not served", () => {
  const { images, others } = imagesUsed([{ image: "nginx", imageId: undefined }], new Set(["ghcr.io"]));
  expect([images, others]).toEqual([[], ["nginx"]]);
});
