/** What a rule demands of an image: dates that anybody may have written, sizes and platforms. */
import { describe, expect, it } from "vitest";
import { checkImage, isCompanion, isDocument, readImageConfig } from "../../../src/mirror/imageChecks.ts";
import type { Descriptor } from "../../../src/oci/descriptor.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import type { Manifest } from "../../../src/oci/manifest.ts";

const day = 86_400_000;
const now = Date.UTC(2026, 10, 22);
const firstSeen = now - 3 * day;

const layer = (size: number, mediaType = "application/vnd.oci.image.layer.v1.tar+gzip"): Descriptor => ({
  mediaType,
  digest: digestOf(Buffer.from(`${size}`)),
  size,
});
const image = (...layers: readonly Descriptor[]): Manifest => ({
  kind: "image",
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  children: [],
  layers,
});
const facts = (config: object) => ({
  config: async () => readImageConfig(Buffer.from(JSON.stringify(config))),
  firstSeen: async () => firstSeen,
  sizeOf: async ({ size }: Descriptor) => size,
});

describe("the age of an image", () => {
  const minAge = 7 * day;

  it.each([
    ["2026-11-01T00:00:00Z", undefined],
    ["2026-11-01T00:00:00.123456789Z", undefined],
    ["2026-11-20T00:00:00Z", Date.UTC(2026, 10, 27)],
    // A builder's clock may be a little ahead.
    ["2026-11-22T12:00:00Z", Date.UTC(2026, 10, 29, 12)],
  ])("counts from %s", async (created, until) => {
    const verdict = await checkImage(image(), { minAge }, facts({ created }), now);
    expect(verdict.until).toBe(until);
    expect(verdict.refusal?.reason).toBe(until === undefined ? undefined : "age");
  });

  it.each([
    ["1970-01-01T00:00:00Z", /before there were images/],
    ["0001-01-01T00:00:00Z", /before there were images/],
    ["2027-01-01T00:00:00Z", /in the future/],
    ["yesterday", /cannot be read/],
    ["", /has no date/],
    [17, /has no date/],
    [undefined, /has no date/],
  ])("counts from when it was first seen, when the config says %j", async (created, why) => {
    const verdict = await checkImage(image(), { minAge }, facts({ created }), now);
    expect(verdict.until).toBe(firstSeen + minAge);
    expect(verdict.refusal?.why).toMatch(why);
    expect(await checkImage(image(), { minAge }, facts({ created }), firstSeen + minAge)).toEqual({});
  });
});

it("adds the layers up", async () => {
  const two = image(layer(600), layer(400));
  expect(await checkImage(two, { maxSize: 1000 }, facts({}), now)).toEqual({});
  expect((await checkImage(two, { maxSize: 999 }, facts({}), now)).refusal?.reason).toBe("size");
});

it("adds up what the layers really are, and refuses for a minute an image that lacks one", async () => {
  const two = image(layer(6), layer(4));
  const real = { ...facts({}), sizeOf: async ({ size }: Descriptor) => size * 100 };
  expect(await checkImage(two, { maxSize: 1000 }, real, now)).toEqual({});
  expect((await checkImage(two, { maxSize: 999 }, real, now)).refusal?.why).toMatch(
    /its layers are 1000 bytes/,
  );
  const none = { ...facts({}), sizeOf: async () => undefined };
  const { refusal, until } = await checkImage(two, { maxSize: 1000 }, none, now);
  expect([refusal?.reason, until]).toEqual(["size", now + 60_000]);
});

it.each([
  [{ os: "linux", architecture: "arm", variant: "v7" }, true],
  [{ os: "linux", architecture: "arm", variant: "v6" }, false],
  [{ os: "linux", architecture: "arm" }, false],
  [{ os: "linux", architecture: "amd64", variant: "v3" }, true],
  [{ os: "windows", architecture: "amd64" }, false],
  [{ architecture: "amd64" }, false],
  [{}, false],
])("serves the platform of %j: %s", async (config, served) => {
  const platforms = [
    { os: "linux", architecture: "amd64" },
    { os: "linux", architecture: "arm", variant: "v7" },
  ];
  const { refusal } = await checkImage(image(), { platforms }, facts(config), now);
  expect(refusal?.reason).toBe(served ? undefined : "platform");
});

it("takes for a document nothing that can be unpacked or run", () => {
  const tar = Buffer.alloc(1024);
  tar.write('{"a": 1}');
  expect(isDocument(Buffer.from('\n {"_type": "https://in-toto.io/Statement/v1"}'))).toBe(true);
  for (const bytes of [tar, Buffer.alloc(0), Buffer.from([0x1f, 0x8b, 8]), Buffer.from("#!/bin/sh\n")])
    expect(isDocument(bytes)).toBe(false);
});

it("takes for a companion only what nothing can be run of", () => {
  const signature = layer(1, "application/vnd.dev.cosign.simplesigning.v1+json");
  expect(isCompanion(image(signature, layer(1, "application/vnd.in-toto+json")))).toBe(true);
  expect(isCompanion(image(layer(1, "application/vnd.dev.sigstore.bundle.v0.3+json")))).toBe(true);
  expect(isCompanion(image(signature, layer(1)))).toBe(false);
  expect(isCompanion(image())).toBe(false);
});

it.each(["", "null", "[]", "{", '"a"', "\u0000"])("reads %j as a config that says nothing", (text) => {
  expect(readImageConfig(Buffer.from(text))).toEqual({});
});
