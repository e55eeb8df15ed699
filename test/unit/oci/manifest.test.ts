/** What is accepted as a manifest, and what one says. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  dockerList,
  dockerManifest,
  manifestTypes,
  maxManifestBytes,
  ociIndex,
  ociManifest,
} from "../../../src/oci/descriptor.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import { listedAs, ManifestError, readManifest } from "../../../src/oci/manifest.ts";
import { failure, outcome } from "./outcome.ts";
import { growth } from "../../support/speed.ts";

const digest = (digit: string) => `sha256:${digit.repeat(64)}`;
const config = { mediaType: "application/vnd.oci.image.config.v1+json", digest: digest("a"), size: 7023 };
const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: digest("b"), size: 32654 };
const child = {
  mediaType: ociManifest,
  digest: digest("c"),
  size: 1024,
  platform: { os: "linux", architecture: "arm", variant: "v7" },
};
const empty = { mediaType: "application/vnd.oci.empty.v1+json", digest: digest("e"), size: 2 };
const image = { schemaVersion: 2, mediaType: ociManifest, config, layers: [layer] };
const index = { schemaVersion: 2, mediaType: ociIndex, manifests: [child] };

const bytesOf = (document: unknown) =>
  new TextEncoder().encode(typeof document === "string" ? document : JSON.stringify(document));
const read = (document: unknown, contentType: string = ociManifest) =>
  readManifest(bytesOf(document), contentType);
/** The image above with `text` put into its JSON as it is. */
const imageWith = (text: string) => `{${text},${JSON.stringify(image).slice(1)}`;

describe("a manifest", () => {
  const accepted: readonly [what: string, document: unknown, contentType: string, expected: object][] = [
    ["an OCI image", image, ociManifest, { kind: "image", config, layers: [layer], children: [] }],
    ["an OCI index", index, ociIndex, { kind: "index", children: [child], layers: [] }],
    [
      "a Docker image",
      { ...image, mediaType: dockerManifest },
      dockerManifest,
      { kind: "image", config, layers: [layer], children: [] },
    ],
    [
      "a Docker list",
      { ...index, mediaType: dockerList },
      dockerList,
      { kind: "index", children: [child], layers: [] },
    ],
    [
      "an OCI image that leaves its type out",
      { ...image, mediaType: undefined },
      ociManifest,
      { kind: "image", config, layers: [layer], children: [] },
    ],
    ["an empty index", { ...index, manifests: [] }, ociIndex, { kind: "index", children: [], layers: [] }],
    [
      "an empty list written as null",
      { ...index, manifests: null },
      ociIndex,
      { kind: "index", children: [], layers: [] },
    ],
    [
      "a foreign artifact",
      {
        schemaVersion: 2,
        mediaType: ociManifest,
        artifactType: "application/spdx+json",
        config: empty,
        layers: [{ ...layer, annotations: { "org.opencontainers.image.title": "sbom.json" } }],
        subject: { mediaType: ociManifest, digest: digest("d"), size: 1 },
        annotations: { ["__proto__"]: "a key like any other", created: "2026" },
      },
      ociManifest,
      {
        kind: "image",
        artifactType: "application/spdx+json",
        config: empty,
        layers: [{ ...layer, annotations: { "org.opencontainers.image.title": "sbom.json" } }],
        children: [],
        subject: { mediaType: ociManifest, digest: digest("d"), size: 1 },
        annotations: { ["__proto__"]: "a key like any other", created: "2026" },
      },
    ],
    [
      "an attested index",
      { ...index, manifests: [{ ...child, platform: { os: "unknown", architecture: "unknown" } }] },
      ociIndex,
      {
        kind: "index",
        children: [{ ...child, platform: { os: "unknown", architecture: "unknown" } }],
        layers: [],
      },
    ],
    [
      "a layer elsewhere, whose addresses are not even read (S9)",
      { ...image, layers: [{ ...layer, urls: ["http://10.0.0.1/x"] }] },
      ociManifest,
      { kind: "image", config, layers: [layer], children: [] },
    ],
    [
      "what describes a child wrongly is left out",
      {
        ...index,
        annotations: { a: 1 },
        manifests: [{ ...child, platform: { os: 1 }, artifactType: "", annotations: ["a"] }],
      },
      ociIndex,
      { kind: "index", children: [{ ...child, platform: undefined }], layers: [] },
    ],
  ];

  test.each(accepted)("%s", (_, document, contentType, expected) => {
    expect(read(document, contentType)).toEqual({ mediaType: contentType, ...expected });
  });

  test("may be sent with parameters and in any case", () => {
    expect(read(image, `${ociManifest.toUpperCase()} ; charset=utf-8`).mediaType).toBe(ociManifest);
  });

  test("of exactly 4 MiB and with 10000 layers is read", () => {
    const large = { ...image, layers: Array.from({ length: 10_000 }, () => layer) };
    const text = JSON.stringify(large);
    const padded = text + " ".repeat(maxManifestBytes - text.length);
    expect(read(padded).layers).toHaveLength(10_000);
  });
});

describe("a document is refused", () => {
  const refused: readonly [what: string, document: unknown, contentType?: string][] = [
    // S19: two readers could take it for two things.
    ["S19 an image with manifests", { ...image, manifests: [child] }],
    ["S19 an image with an empty list of manifests", { ...image, manifests: [] }],
    ["S19 an index with layers", { ...index, layers: [layer] }, ociIndex],
    ["S19 an index with a config", { ...index, config }, ociIndex],
    ["S19 an image with fsLayers", { ...image, fsLayers: [] }],
    ["S19 an image sent as an index", { ...image, mediaType: undefined }, ociIndex],
    ["S19 an index sent as an image", { ...index, mediaType: undefined }],
    ["S19 another mediaType than Content-Type", image, dockerManifest],
    ["S19 an OCI index as a Docker list", index, dockerList],
    ["S19 a mediaType with parameters", { ...image, mediaType: `${ociManifest}; charset=utf-8` }],
    ["S19 a mediaType that is no text", { ...image, mediaType: 1 }],
    ["S19 a Docker image that leaves its type out", { ...image, mediaType: undefined }, dockerManifest],
    ["S19 Content-Type text/html", image, "text/html"],
    ["S19 Content-Type application/json", image, "application/json"],
    ["S19 no Content-Type", image, ""],
    ["S19 another type, stated too", { ...image, mediaType: "application/json" }, "application/json"],
    [
      "S19 schema 1",
      { schemaVersion: 1, fsLayers: [] },
      "application/vnd.docker.distribution.manifest.v1+prettyjws",
    ],
    ["S19 schemaVersion 1", { ...image, schemaVersion: 1 }],
    ["S19 schemaVersion as text", { ...image, schemaVersion: "2" }],
    ["S19 duplicate mediaType", imageWith(`"mediaType":${JSON.stringify(ociManifest)}`)],
    ["S19 duplicate schemaVersion", imageWith('"schemaVersion":2')],
    ["S19 duplicate config", imageWith('"config":{"a":{"b":[",\\"config\\":"]}}')],
    ["S19 duplicate layers", imageWith('"layers":[]')],
    ["S19 duplicate subject", imageWith('"subject":null,"subject":null')],
    ["S19 duplicate manifests", `{"manifests":[],"mediaType":"${ociIndex}","manifests":[]}`, ociIndex],
    ["S19 duplicate with an escape in it", imageWith('"l\\u0061yers":[]')],
    ["S19 duplicate in another case", imageWith('"Layers":[]')],
    ["S19 duplicate with a long s", imageWith('"layerſ":[]')],
    ["S19 another case alone", { ...image, MANIFESTS: [child] }],
    ["S19 a long s alone", { ...image, ſubject: child }],

    // S21: sizes that would be other numbers than they say.
    ...["-1", "1.5", "1e400", "9007199254740993", String(2 ** 60), '"5"', "null", "[5]", "true"].map(
      (size): [string, string] => [
        `S21 size ${size}`,
        JSON.stringify({ ...image, layers: [{ ...layer, size: "SIZE" }] }).replace('"SIZE"', size),
      ],
    ),
    ["S21 no size", { ...image, layers: [{ ...layer, size: undefined }] }],
    ["S21 a config's size", { ...image, config: { ...config, size: -1 } }],
    ["S21 a child's size", { ...index, manifests: [{ ...child, size: -1 }] }, ociIndex],
    ["S21 a subject's size", { ...image, subject: { ...child, size: -1 } }],

    ...["", "sha256:x", "sha1:" + "a".repeat(40), "sha256:../../../etc/passwd", digest("A"), 5, null].map(
      (digest): [string, unknown] => [
        `S15 a layer's digest ${JSON.stringify(digest)}`,
        { ...image, layers: [{ ...layer, digest }] },
      ],
    ),
    ["a layer without mediaType", { ...image, layers: [{ ...layer, mediaType: undefined }] }],
    ["a layer with an empty mediaType", { ...image, layers: [{ ...layer, mediaType: "" }] }],
    ["a layer that is null", { ...image, layers: [null] }],
    ["a layer that is a list", { ...image, layers: [[]] }],
    ["layers that are no list", { ...image, layers: { length: 1, 0: layer } }],
    ["manifests that are text", { ...index, manifests: "abc" }, ociIndex],
    ["an image without config", { ...image, config: undefined }],
    ["an image with config null", { ...image, config: null }],
    ["an error page", { errors: [{ code: "UNKNOWN" }] }],
    ["an error page as an index", { errors: [{ code: "UNKNOWN" }] }, ociIndex],
    ["10001 layers", { ...image, layers: Array.from({ length: 10_001 }, () => layer) }],
    ["10001 children", { ...index, manifests: Array.from({ length: 10_001 }, () => child) }, ociIndex],
    ["nesting of 33", { ...image, x: JSON.parse("[".repeat(32) + "]".repeat(32)) as unknown }],
    ["a document of 4 MiB and a byte", JSON.stringify(image) + " ".repeat(maxManifestBytes)],
    ["nothing", ""],
    ["a list", "[]"],
    ["a list that looks like an image", '["config",{},"layers",[],"layers",[]]'],
    ["null", "null"],
    ["text", '"manifest"'],
    ["two documents", JSON.stringify(image).repeat(2)],
    ["a document that ends early", JSON.stringify(image).slice(0, -1)],
    ["a document with a byte order mark", `\u{feff}${JSON.stringify(image)}`],
  ];

  test.each(refused)("%s", (_, document, contentType) => {
    failure(ManifestError, () => read(document, contentType));
  });

  test.each([
    ["not UTF-8", [...Buffer.from(imageWith('"x":"\u{e9}"'), "latin1")]],
    ["UTF-16", [...Buffer.from(JSON.stringify(image), "utf16le")]],
  ])("when it is %s", (_, bytes) => {
    failure(ManifestError, () => readManifest(Uint8Array.from(bytes), ociManifest));
  });

  test("but not for keys that only occur deeper down, or as values", () => {
    const twice = { layers: 1, config: 2, nested: { mediaType: 3, Layers: [{ layers: "layers" }] } };
    const odd = {
      ...image,
      before: '","layers":["mediaType"],"',
      annotations: { config: "layers", Config: '","layers":[]' },
      twice,
    };
    expect(read(odd).layers).toEqual([layer]);
  });
});

const isRefused = (result: unknown) => result instanceof ManifestError;
const attempt = (bytes: Uint8Array) => outcome(() => readManifest(bytes, ociManifest));
const isReadOrRefused = (result: unknown) => isRefused(result) || !(result instanceof Error);

describe("any bytes at all", () => {
  const types = fc.constantFrom(...manifestTypes);

  test("are refused by nothing but a ManifestError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), types, (bytes, type) => {
        expect(outcome(() => readManifest(bytes, type))).toSatisfy(isRefused);
      }),
    );
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (contentType) => {
        expect(outcome(() => read(image, contentType))).toSatisfy(isRefused);
      }),
    );
  });

  test("and so is any JSON where a manifest has something else", () => {
    const fields = [
      "schemaVersion",
      "mediaType",
      "config",
      "layers",
      "manifests",
      "subject",
      "annotations",
      "artifactType",
    ];
    const descriptors = fc.record(
      { mediaType: fc.jsonValue(), digest: fc.jsonValue(), size: fc.jsonValue(), platform: fc.jsonValue() },
      { requiredKeys: [] },
    );
    const values = fc.oneof(fc.jsonValue(), descriptors, fc.array(descriptors));
    const overrides = fc.dictionary(fc.constantFrom(...fields), values, { noNullPrototype: true });
    fc.assert(
      fc.property(fc.constantFrom(image, index), overrides, types, (document, override, type) => {
        const result = outcome(() => read({ ...document, mediaType: type, ...override }, type));
        expect(result).toSatisfy(isReadOrRefused);
      }),
      { numRuns: 500 },
    );
  });

  test("and a valid image with one bit flipped", () => {
    const bytes = bytesOf(image);
    fc.assert(
      fc.property(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 7 }), (at, bit) => {
        const flipped = bytes.map((byte, index) => (index === at ? byte ^ (1 << bit) : byte));
        expect(attempt(flipped)).toSatisfy(isReadOrRefused);
      }),
      { numRuns: 500 },
    );
  });

  const hostile: readonly [what: string, make: (size: number) => string][] = [
    ["open brackets", (size) => "[".repeat(size)],
    ["open objects", (size) => '{"a":'.repeat(size / 5)],
    ["many keys", (size) => `{${Array.from({ length: size / 11 }, (_, key) => `"${key}":0`).join(",")}}`],
    ["one key many times", (size) => `{${'"a":0,'.repeat(size / 6)}"a":0}`],
    ["backslashes", (size) => `{"${"\\".repeat(size)}":0}`],
    ["quotes", (size) => '"'.repeat(size)],
    ["an open string", (size) => `{"${"a".repeat(size)}`],
    ["commas", (size) => `{${",".repeat(size)}}`],
    ["layers", (size) => `{"config":{},"layers":[${"{},".repeat(size / 3)}{}]}`],
    ["white space", (size) => " ".repeat(size)],
  ];

  test.each(hostile)(
    "4 MiB of %s are refused in time that grows with their number, and no faster",
    (_, make) => {
      const bytes = (size: number) => bytesOf(make(size));
      expect(attempt(bytes(maxManifestBytes - 8000))).toSatisfy(isRefused);
      expect(growth(bytes, maxManifestBytes / 8 - 1000, attempt)).toBeLessThan(4);
    },
    60_000,
  );
});

test.each([
  [
    "its artifactType",
    { ...image, artifactType: "application/spdx+json" },
    ociManifest,
    "application/spdx+json",
  ],
  ["its config's type when it has none", image, ociManifest, config.mediaType],
  ["its config's type when it is empty", { ...image, artifactType: "" }, ociManifest, config.mediaType],
  ["an index's artifactType", { ...index, artifactType: "a/b" }, ociIndex, "a/b"],
  ["nothing for an index that has none", index, ociIndex, undefined],
])("a referrers list shows a manifest under %s", (_, document, contentType, expected) => {
  expect(
    listedAs({ ...config, digest: config.digest as Digest }, read(document, contentType)).artifactType,
  ).toBe(expected);
});
