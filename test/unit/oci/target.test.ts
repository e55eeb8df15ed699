/** The protocol's URLs as a table: what is asked, or why it is refused. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RegistryError, type ErrorCode } from "../../../src/oci/error.ts";
import { type Routing, parseTarget, type Target } from "../../../src/oci/target.ts";
import { failure, outcome } from "./outcome.ts";
import { growth, leastTime } from "../../support/speed.ts";

const routing: Routing = {
  upstreams: new Set(["docker.io", "ghcr.io", "harbor", "registry.test:5000"]),
  defaultUpstream: "docker.io",
};
const sha256 = `sha256:${"0a".repeat(32)}`;
const sha512 = `sha512:${"0a".repeat(64)}`;
const alpine = { upstream: "docker.io", name: "library/alpine" };
const app = { upstream: "ghcr.io", name: "org/app" };

const asked: readonly [url: string, target: object][] = [
  ["/v2", { kind: "ping" }],
  ["/v2/", { kind: "ping" }],
  ["/v2/?ns=docker.io", { kind: "ping" }],
  ["/ghcr.io/v2", { kind: "ping" }],
  ["/ghcr.io/v2/", { kind: "ping" }],

  // Without a source host: the default upstream (Docker's registry-mirrors).
  ["/v2/library/alpine/manifests/3.20", { kind: "manifest", repository: alpine, reference: "3.20" }],
  ["/v2/alpine/manifests/3.20", { kind: "manifest", repository: alpine, reference: "3.20" }],
  [`/v2/alpine/blobs/${sha256}`, { kind: "blob", repository: alpine, digest: sha256 }],

  // The source host as ns (containerd, BuildKit, k3s).
  [
    "/v2/org/app/manifests/v1?ns=ghcr.io",
    { kind: "manifest", repository: app, reference: "v1", namespace: "ghcr.io" },
  ],
  [
    "/v2/org/app/manifests/v1?ns=GHCR.io%3A443",
    { kind: "manifest", repository: app, reference: "v1", namespace: "ghcr.io" },
  ],
  [
    "/v2/alpine/manifests/v1?ns=registry-1.docker.io",
    { kind: "manifest", repository: alpine, reference: "v1", namespace: "docker.io" },
  ],
  [
    "/v2/alpine/manifests/v1?ns=index.docker.io",
    { kind: "manifest", repository: alpine, reference: "v1", namespace: "docker.io" },
  ],
  [
    `/v2/a/blobs/${sha256}?ns=registry.test:5000`,
    {
      kind: "blob",
      repository: { upstream: "registry.test:5000", name: "a" },
      digest: sha256,
      namespace: "registry.test:5000",
    },
  ],
  // Both (override_path), and a repository of another mirror that begins like a host.
  [
    "/v2/ghcr.io/org/app/manifests/v1?ns=ghcr.io",
    { kind: "manifest", repository: app, reference: "v1", namespace: "ghcr.io" },
  ],
  [
    "/v2/docker.io/alpine/manifests/v1?ns=docker.io",
    { kind: "manifest", repository: alpine, reference: "v1", namespace: "docker.io" },
  ],
  [
    "/v2/ghcr.io/org/app/manifests/v1?ns=registry.test:5000",
    {
      kind: "manifest",
      repository: { upstream: "registry.test:5000", name: "ghcr.io/org/app" },
      reference: "v1",
      namespace: "registry.test:5000",
    },
  ],

  // The source host after /v2 (podman, CRI-O, skopeo).
  ["/v2/ghcr.io/org/app/manifests/v1", { kind: "manifest", repository: app, reference: "v1" }],
  ["/v2/Docker.io:443/alpine/manifests/v1", { kind: "manifest", repository: alpine, reference: "v1" }],
  [
    "/v2/harbor/team/app/manifests/v1",
    { kind: "manifest", repository: { upstream: "harbor", name: "team/app" }, reference: "v1" },
  ],
  [
    "/v2/harbor/manifests/v1",
    { kind: "manifest", repository: { upstream: "docker.io", name: "library/harbor" }, reference: "v1" },
  ],
  [
    "/v2/harbor/manifests/v1?ns=harbor",
    {
      kind: "manifest",
      repository: { upstream: "harbor", name: "harbor" },
      reference: "v1",
      namespace: "harbor",
    },
  ],

  // The source host before /v2 (containerd with a path and no override_path).
  ["/ghcr.io/v2/org/app/manifests/v1", { kind: "manifest", repository: app, reference: "v1" }],
  ["/docker.io/v2/alpine/manifests/v1", { kind: "manifest", repository: alpine, reference: "v1" }],
  [
    "/ghcr.io/v2/org/app/manifests/v1?ns=ghcr.io",
    { kind: "manifest", repository: app, reference: "v1", namespace: "ghcr.io" },
  ],

  // Only Docker Hub has library/.
  [
    "/v2/ghcr.io/alpine/manifests/v1",
    { kind: "manifest", repository: { upstream: "ghcr.io", name: "alpine" }, reference: "v1" },
  ],

  // Components and tags named like endpoints.
  [
    "/v2/manifests/blobs/manifests/tags",
    { kind: "manifest", repository: { upstream: "docker.io", name: "manifests/blobs" }, reference: "tags" },
  ],
  [
    "/v2/org/manifests/tags/list",
    { kind: "tags", repository: { upstream: "docker.io", name: "org/manifests" }, count: 1000 },
  ],
  ["/v2/alpine/manifests/manifests", { kind: "manifest", repository: alpine, reference: "manifests" }],

  ["/v2/alpine/manifests/" + sha512, { kind: "manifest", repository: alpine, reference: sha512 }],
  [
    "/v2/alpine/manifests/sha256%3A" + sha256.slice(7),
    { kind: "manifest", repository: alpine, reference: sha256 },
  ],
  ["/v2/%61lpine/manifests/v1", { kind: "manifest", repository: alpine, reference: "v1" }],

  ["/v2/alpine/tags/list", { kind: "tags", repository: alpine, count: 1000 }],
  ["/v2/alpine/tags/list?n=0", { kind: "tags", repository: alpine, count: 0 }],
  ["/v2/alpine/tags/list?n=10&last=3.20", { kind: "tags", repository: alpine, count: 10, last: "3.20" }],
  ["/v2/alpine/tags/list?last=", { kind: "tags", repository: alpine, count: 1000 }],

  [`/v2/alpine/referrers/${sha256}`, { kind: "referrers", repository: alpine, subject: sha256 }],
  [
    `/v2/alpine/referrers/${sha256}?artifactType=`,
    { kind: "referrers", repository: alpine, subject: sha256 },
  ],
  ...["application/spdx+json", "application%2Fspdx%2Bjson"].map((type): [string, object] => [
    `/v2/alpine/referrers/${sha256}?artifactType=${type}`,
    { kind: "referrers", repository: alpine, subject: sha256, artifactType: "application/spdx+json" },
  ]),
];

const refused: readonly [name: string, url: string, code: ErrorCode][] = [
  // S8: a source host that is not configured is a 404, a name that means two of them a 400.
  ["S8 unknown ns", "/v2/a/manifests/v1?ns=evil.test", "NAME_UNKNOWN"],
  ["S8 unknown ns on a ping", "/v2/?ns=evil.test", "NAME_UNKNOWN"],
  ["S8 ns that begins like a configured one", "/v2/a/manifests/v1?ns=docker.io.evil.test", "NAME_UNKNOWN"],
  ["S8 ns that ends like a configured one", "/v2/a/manifests/v1?ns=evil.docker.io", "NAME_UNKNOWN"],
  ["S8 ns with a path", "/v2/a/manifests/v1?ns=../", "NAME_UNKNOWN"],
  ["S8 ns with another port", "/v2/a/manifests/v1?ns=docker.io:80", "NAME_UNKNOWN"],
  ["S8 ns with user info", "/v2/a/manifests/v1?ns=docker.io@evil.test", "NAME_UNKNOWN"],
  ["S8 empty ns", "/v2/a/manifests/v1?ns=", "NAME_UNKNOWN"],
  ["S8 ns encoded twice", "/v2/a/manifests/v1?ns=docker%252Eio", "NAME_UNKNOWN"],
  ["S8 repeated ns", "/v2/a/manifests/v1?ns=docker.io&ns=ghcr.io", "NAME_INVALID"],
  ["S8 the same ns twice", "/v2/a/manifests/v1?ns=docker.io&n%73=docker.io", "NAME_INVALID"],
  ["S8 ns against the host in front", "/ghcr.io/v2/a/manifests/v1?ns=docker.io", "NAME_INVALID"],
  ["S8 unknown host after /v2", "/v2/evil.test/a/manifests/v1", "NAME_UNKNOWN"],
  ["S8 unknown host with a port after /v2", "/v2/evil:8080/a/manifests/v1", "NAME_UNKNOWN"],
  ["S8 localhost after /v2", "/v2/localhost/a/manifests/v1", "NAME_UNKNOWN"],
  ["S8 address after /v2", "/v2/169.254.169.254/latest/manifests/v1", "NAME_UNKNOWN"],
  ["S8 IPv6 address after /v2", "/v2/[::1]:5000/a/manifests/v1", "NAME_UNKNOWN"],
  ["S8 unknown host before /v2", "/evil.test/v2/a/manifests/v1", "NAME_UNKNOWN"],
  ["S8 unknown host before a ping", "/evil.test/v2/", "NAME_UNKNOWN"],

  ...["manifests", "blobs", "referrers"].flatMap((endpoint) =>
    (
      [
        ["63 digits", `sha256:${"a".repeat(63)}`],
        ["65 digits", `sha256:${"a".repeat(65)}`],
        ["upper case", sha256.toUpperCase()],
        ["upper-case hex", `sha256:${"AB".repeat(32)}`],
        ["sha1", `sha1:${"a".repeat(40)}`],
        ["md5", `md5:${"a".repeat(32)}`],
        ["a path", "sha256:../../x"],
        ["an encoded path", "sha256:..%2F..%2Fx"],
        ["sha512 of sha256's length", `sha512:${"a".repeat(64)}`],
        ["10 kB", `sha256:${"a".repeat(10_000)}`],
        ["a NUL", `sha256:${"a".repeat(63)}%00`],
        ["a malformed escape", `sha256:${"a".repeat(63)}%zz`],
        ["a line end", `${sha256}%0A`],
        ["no hex", "sha256:baddigeststring"],
      ] as const
    ).map(([what, digest]): [string, string, ErrorCode] => [
      `S15 ${what} (${endpoint})`,
      `/v2/alpine/${endpoint}/${digest}`,
      "DIGEST_INVALID",
    ]),
  ),
  ["S15 a tag where a blob is asked", "/v2/alpine/blobs/latest", "DIGEST_INVALID"],

  ...(
    [
      ["an encoded parent", "a/%2e%2e%2fb"],
      ["an encoded parent first", "%2e%2e%2fb"],
      ["a parent", "a/../b"],
      ["a parent first", "../b"],
      ["a double slash", "a//b"],
      ["upper case", "A/b"],
      ["a dot", "a/./b"],
      ["a NUL", "a%00b"],
      ["an encoded slash", "a%2Fb"],
      ["an encoded slash after a host", "docker.io%2Fa"],
      ["an escape encoded twice", "a%252Fb"],
      ["a malformed escape", "a%zzb"],
      ["bytes that are not UTF-8", "a%ffb"],
      ["a line end", "a%0Ab"],
      ["256 characters", "a".repeat(256)],
      ["256 characters with library/", "a".repeat(248)],
      ["50 kB of a-a-", `${"a-".repeat(25_000)}!`],
      ["a host of 257 characters", `${"a.".repeat(128)}a/b`],
      ["no name after a host", "ghcr.io/"],
      ["backslashes", "a\\..\\b"],
    ] as const
  ).map(([what, name]): [string, string, ErrorCode] => [
    `S16 ${what}`,
    `/v2/${name}/manifests/v1`,
    "NAME_INVALID",
  ]),
  ["S16 no name", "/v2/manifests/v1", "NAME_INVALID"],

  ["a tag with a slash", "/v2/alpine/manifests/a/b", "MANIFEST_INVALID"],
  ["a tag with an encoded slash", "/v2/alpine/manifests/a%2Fb", "MANIFEST_INVALID"],
  ["an empty tag", "/v2/alpine/manifests/", "MANIFEST_INVALID"],
  ["a tag with a leading dot", "/v2/alpine/manifests/.hidden", "MANIFEST_INVALID"],
  ["a tag of 129 characters", `/v2/alpine/manifests/${"a".repeat(129)}`, "MANIFEST_INVALID"],
  ["a tag with a line end", "/v2/alpine/manifests/a%0Ab", "MANIFEST_INVALID"],

  ["S26 _catalog", "/v2/_catalog", "NAME_UNKNOWN"],
  ["S26 _catalog with a large n", "/v2/_catalog?n=2147483647", "NAME_UNKNOWN"],
  ["S26 negative n", "/v2/alpine/tags/list?n=-1", "NAME_INVALID"],
  ["S26 n in exponents", "/v2/alpine/tags/list?n=1e9", "NAME_INVALID"],
  ["S26 fractional n", "/v2/alpine/tags/list?n=1.5", "NAME_INVALID"],
  ["S26 empty n", "/v2/alpine/tags/list?n=", "NAME_INVALID"],
  ["last that is no tag", "/v2/alpine/tags/list?last=a%0Ab", "NAME_INVALID"],
  ["last of 129 characters", `/v2/alpine/tags/list?last=${"a".repeat(129)}`, "NAME_INVALID"],
  ["artifactType without a slash", `/v2/a/referrers/${sha256}?artifactType=sbom`, "MANIFEST_INVALID"],
  ["artifactType with a space", `/v2/a/referrers/${sha256}?artifactType=a/b%20c`, "MANIFEST_INVALID"],
  ["long artifactType", `/v2/a/referrers/${sha256}?artifactType=a/${"b".repeat(254)}`, "MANIFEST_INVALID"],

  ["an upload", "/v2/alpine/blobs/uploads/", "UNSUPPORTED"],
  ["an upload's status", "/v2/alpine/blobs/uploads/1b4e28ba", "UNSUPPORTED"],
  ["the root", "/", "NAME_UNKNOWN"],
  ["nothing", "", "NAME_UNKNOWN"],
  ["another version", "/v1/search", "NAME_UNKNOWN"],
  ["another endpoint", "/v2/alpine/files/x", "NAME_UNKNOWN"],
  ["another list of tags", "/v2/alpine/tags/all", "NAME_UNKNOWN"],
  ["a version that only begins like v2", "/v2x/alpine/manifests/v1", "NAME_UNKNOWN"],
  ["an absolute URL", "http://evil.test/v2/alpine/manifests/v1", "NAME_UNKNOWN"],
];

const parse = (url: string, method = "GET") => parseTarget(method, url, routing);

describe("a request", () => {
  test.each(asked)("%s", (url, target) => {
    expect(parse(url)).toEqual(target);
    expect(parse(url, "HEAD")).toEqual(target);
  });

  test.each(refused)("%s is refused", (_, url, code) => {
    expect(failure(RegistryError, () => parse(url)).code).toBe(code);
  });

  test.each([
    ["1000", 1000],
    ["1001", 1000],
    ["2147483647", 1000],
    ["9".repeat(400), 1000],
  ])("S26 n=%s is a page of %i tags", (n, count) => {
    expect(parse(`/v2/alpine/tags/list?n=${n}`)).toMatchObject({ count });
  });

  test.each(["PUT", "POST", "PATCH", "DELETE", "OPTIONS", "CONNECT", "get"])(
    "S25 %s is unsupported, whatever the path",
    (method) => {
      for (const url of [
        "/",
        "/v2/",
        "/v2/a/blobs/uploads/",
        "/evil.test/v2/",
        ...asked.map(([url]) => url),
      ]) {
        expect(failure(RegistryError, () => parse(url, method))).toMatchObject({
          code: "UNSUPPORTED",
          status: 405,
        });
      }
    },
  );

  test("S8 for an unknown host the answer says what to do, and not what is configured", () => {
    const { message } = failure(RegistryError, () => parse("/v2/a/manifests/v1?ns=evil.test"));
    expect(message).toContain(
      '"evil.test" is not served here: add it under "upstreams:" in the configuration',
    );
    for (const upstream of routing.upstreams) expect(message).not.toContain(upstream);
  });

  test("the answer to a hostile name is short and without control characters", () => {
    for (const name of ["x".repeat(50_000), "%1b%5b31m%0d%0a"]) {
      for (const url of [`/v2/${name}/a/manifests/v1`, `/v2/a/manifests/v1?ns=${name}`]) {
        // eslint-disable-next-line no-control-regex -- the point
        expect(failure(RegistryError, () => parse(url)).message).toMatch(/^[^\u0000-\u001f]{1,300}$/);
      }
    }
  });

  test("reads back as the repository and tag that it was written from, in every form", () => {
    const component = fc.stringMatching(/^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/, { maxLength: 20 });
    const names = fc
      .array(component, { minLength: 2, maxLength: 5 })
      .map((components) => components.join("/"));
    const tags = fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/);
    fc.assert(
      fc.property(fc.constantFrom(...routing.upstreams), names, tags, (upstream, name, tag) => {
        const expected = { kind: "manifest", repository: { upstream, name }, reference: tag };
        const rest = `${name}/manifests/${tag}`;
        expect(parse(`/v2/${upstream}/${rest}`)).toEqual(expected);
        expect(parse(`/${upstream}/v2/${rest}`)).toEqual(expected);
        expect(parse(`/v2/${rest}?ns=${upstream}`)).toEqual({ ...expected, namespace: upstream });
      }),
    );
  });

  test("that is nonsense is refused by nothing but a RegistryError, and never reaches an unknown upstream", () => {
    const part = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom(
        "v2",
        "manifests",
        "blobs",
        "tags",
        "list",
        "referrers",
        "?ns=",
        "%2F",
        "%",
        "..",
        "docker.io",
        "",
      ),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        const target = outcome(() => parse(`/${parts.join("/")}`));
        expect(target).toSatisfy((target) => target instanceof RegistryError || isServed(target as Target));
      }),
      { numRuns: 500 },
    );
  });

  const hostile: readonly [what: string, make: (size: number) => string][] = [
    ["a-a-…!", (size) => `/v2/${"a-".repeat(size / 2)}!/manifests/v1`],
    ["a/a/…", (size) => `/v2/${"a/".repeat(size / 2)}manifests/v1`],
    ["endpoints", (size) => `/v2/${"tags/".repeat(size / 5)}`],
    ["slashes", (size) => "/".repeat(size)],
    ["escapes", (size) => `/v2/${"%2e%2f".repeat(size / 6)}/manifests/v1`],
    ["malformed escapes", (size) => `/v2/${"%zz/".repeat(size / 4)}manifests/v1`],
    ["a host of dots", (size) => `/v2/a${".".repeat(size)}!/a/manifests/v1`],
    ["a digest", (size) => `/v2/a/blobs/sha256:${"a".repeat(size)}`],
    ["a tag", (size) => `/v2/a/manifests/${"a".repeat(size)}`],
    ["ns", (size) => `/v2/a/manifests/v1?ns=${"a.".repeat(size / 2)}`],
    ["many parameters", (size) => `/v2/a/tags/list?${"a=b&".repeat(size / 4)}`],
    ["n", (size) => `/v2/a/tags/list?n=${"9".repeat(size)}x`],
    ["artifactType", (size) => `/v2/a/referrers/${sha256}?artifactType=${"a".repeat(size)}`],
  ];
  test.each(hostile)("S16 50 kB of %s are answered within 10 ms", (_, make) => {
    const url = make(50_000);
    expect(leastTime(() => outcome(() => parse(url)))).toBeLessThan(10);
  });

  test.each(hostile)("S16 the time for %s grows with its length, and no faster", (_, make) => {
    expect(growth(make, 100_000, (url) => outcome(() => parse(url)))).toBeLessThan(4);
  });
});

function isServed(target: Target): boolean {
  return target.kind === "ping" || routing.upstreams.has(target.repository.upstream);
}
