/** Image names as people type them. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RegistryError, type ErrorCode } from "../../../src/oci/error.ts";
import { parseImage, type Image } from "../../../src/oci/image.ts";
import type { Routing } from "../../../src/oci/target.ts";
import { failure, outcome } from "./outcome.ts";

const routing: Routing = {
  upstreams: new Set(["docker.io", "ghcr.io", "host:5000", "harbor", "[::1]:5000"]),
  defaultUpstream: "docker.io",
};
const digest = `sha256:${"ab".repeat(32)}`;

const rows: readonly [text: string, expected: { [K in keyof Image]: string }][] = [
  ["nginx", { upstream: "docker.io", name: "library/nginx" }],
  ["nginx:1.29", { upstream: "docker.io", name: "library/nginx", tag: "1.29" }],
  [`nginx@${digest}`, { upstream: "docker.io", name: "library/nginx", digest }],
  ["bitnami/redis:7", { upstream: "docker.io", name: "bitnami/redis", tag: "7" }],
  [`docker.io/library/nginx@${digest}`, { upstream: "docker.io", name: "library/nginx", digest }],
  ["docker.io/nginx", { upstream: "docker.io", name: "library/nginx" }],
  ["index.docker.io/nginx", { upstream: "docker.io", name: "library/nginx" }],
  ["GHCR.io:443/org/app", { upstream: "ghcr.io", name: "org/app" }],
  ["ghcr.io/app:v1", { upstream: "ghcr.io", name: "app", tag: "v1" }],
  [`host:5000/a/b:tag@${digest}`, { upstream: "host:5000", name: "a/b", tag: "tag", digest }],
  ["host:5000/a", { upstream: "host:5000", name: "a" }],
  ["[::1]:5000/a:b", { upstream: "[::1]:5000", name: "a", tag: "b" }],
  ["harbor/team/app", { upstream: "harbor", name: "team/app" }],
  // Nothing follows it: a repository of the default upstream, as for every client.
  ["harbor", { upstream: "docker.io", name: "library/harbor" }],
  ["nginx.conf:1", { upstream: "docker.io", name: "library/nginx.conf", tag: "1" }],
];

const faults: readonly [text: string, code: ErrorCode, sentence: RegExp][] = [
  ["", "NAME_INVALID", /not a repository name/],
  ["Nginx", "NAME_INVALID", /"Nginx" is not a repository name/],
  ["ghcr.io/", "NAME_INVALID", /not a repository name/],
  ["docker://nginx", "NAME_INVALID", /not a repository name/],
  ["quay.io/org/app", "NAME_UNKNOWN", /"quay.io" is not served here: add it under "upstreams:"/],
  ["localhost/app", "NAME_UNKNOWN", /add it under "upstreams:"/],
  ["nginx:", "MANIFEST_INVALID", /not a tag/],
  ["nginx:a:b", "MANIFEST_INVALID", /not a tag/],
  [`nginx:${"a".repeat(129)}`, "MANIFEST_INVALID", /not a tag/],
  ["nginx@", "DIGEST_INVALID", /not a sha256 or sha512 digest/],
  ["nginx@latest", "DIGEST_INVALID", /not a sha256 or sha512 digest/],
  [`nginx@${digest}@${digest}`, "DIGEST_INVALID", /not a sha256 or sha512 digest/],
];

describe("an image name", () => {
  test.each(rows)("%j", (text, expected) => {
    expect(parseImage(text, routing)).toEqual(expected);
  });

  test.each(faults)("%j is refused as %s", (text, code, sentence) => {
    const error = failure(RegistryError, () => parseImage(text, routing));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(sentence);
  });

  test("reads back as the image that it was written from", () => {
    const component = fc.stringMatching(/^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/, { maxLength: 20 });
    const images = fc.record(
      {
        upstream: fc.constantFrom(...routing.upstreams),
        name: fc.array(component, { minLength: 2, maxLength: 5 }).map((components) => components.join("/")),
        tag: fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/),
        digest: fc.constant(digest),
      },
      { requiredKeys: ["upstream", "name"] },
    );
    fc.assert(
      fc.property(images, (image) => {
        const tag = image.tag === undefined ? "" : `:${image.tag}`;
        const at = image.digest === undefined ? "" : `@${image.digest}`;
        expect(parseImage(`${image.upstream}/${image.name}${tag}${at}`, routing)).toEqual(image);
      }),
    );
  });

  test("that is nonsense is refused by nothing but a RegistryError", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const image = outcome(() => parseImage(text, routing));
        expect(image).toSatisfy((image) => image instanceof RegistryError || isServed(image));
      }),
    );
  });
});

function isServed(image: unknown): boolean {
  return routing.upstreams.has((image as Image).upstream);
}
