import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { manifestTypes, maxManifestBytes, ociIndex, ociManifest } from "../../../src/oci/descriptor.ts";
import { digestOf, parseDigest } from "../../../src/oci/digest.ts";
import { parseTag } from "../../../src/oci/reference.ts";
import { asked, manifest, nginx, reply, replyManifest, serve, upstream } from "./server.ts";

const digest = digestOf(manifest);
const tag = parseTag("1.29");
if (!tag) throw new Error("not a tag");
const type = { "content-type": ociManifest };

async function registryThat(
  ...answer: Parameters<typeof reply> extends [unknown, ...infer Rest] ? Rest : never
) {
  const server = await serve((request, response) =>
    request.url === "/v2/" ? reply(response, 200) : reply(response, ...answer),
  );
  return { server, ...upstream(server.url) };
}

describe("what is requested", () => {
  test("S24: every manifest type, in no encoding, under our own name", async () => {
    const server = await serve((_, response) => replyManifest(response));
    const { registry, bucket } = upstream(server.url);
    await registry.getManifest(nginx, tag, asked);
    expect(server.asked).toEqual(["GET /v2/", "GET /v2/library/nginx/manifests/1.29"]);
    const headers = server.requests[1]?.headers;
    expect(headers?.accept?.split(", ")).toEqual(manifestTypes);
    expect(headers?.["accept-encoding"]).toBe("identity");
    expect(headers?.["user-agent"]).toMatch(/^hubcap\/\d+\.\d+\.\d+$/);
    expect(bucket.taken[1]?.request).toEqual({
      kind: "manifest-get",
      repository: nginx,
      what: "manifest library/nginx:1.29",
      purpose: asked.purpose,
    });
  });

  test("an upstream may live under a path", async () => {
    const server = await serve((_, response) => replyManifest(response));
    const { registry } = upstream(`${server.url}/docker.io/`);
    await registry.headManifest(nginx, digest, asked);
    expect(server.asked).toEqual([
      "GET /docker.io/v2/",
      `HEAD /docker.io/v2/library/nginx/manifests/${digest}`,
    ]);
  });
});

describe("getManifest", () => {
  test.each([
    ["by tag", tag],
    ["by digest", digest],
  ])("%s gives the very bytes", async (_, reference) => {
    const server = await serve((_, response) => replyManifest(response));
    const { registry } = upstream(server.url);
    expect(await registry.getManifest(nginx, reference, asked)).toEqual({
      bytes: manifest,
      mediaType: ociManifest,
      digest,
      parsed: expect.objectContaining({ kind: "image" }),
    });
  });

  test("a missing Docker-Content-Digest is computed", async () => {
    const { registry } = await registryThat(200, type, manifest);
    expect(await registry.getManifest(nginx, tag, asked)).toMatchObject({ digest });
  });

  test("a manifest announced and requested by sha512 is verified by sha512", async () => {
    const sha512 = digestOf(manifest, "sha512");
    const { registry } = await registryThat(200, { ...type, "docker-content-digest": sha512 }, manifest);
    expect(await registry.getManifest(nginx, sha512, asked)).toMatchObject({ digest: sha512 });
    expect(await registry.getManifest(nginx, tag, asked)).toMatchObject({ digest: sha512 });
  });

  test("S17: other bytes than requested are refused, whatever their header says", async () => {
    const other = digestOf(Buffer.from("other"));
    const { registry } = await registryThat(200, { ...type, "docker-content-digest": other }, manifest);
    await expect(registry.getManifest(nginx, other, asked)).rejects.toMatchObject({ kind: "corrupt" });
  });

  test.each([digestOf(Buffer.from("other")), "sha256:123", "md5:abc", ""])(
    "S18: a tag whose digest is announced as %j is not believed",
    async (claimed) => {
      const { registry } = await registryThat(200, { ...type, "docker-content-digest": claimed }, manifest);
      await expect(registry.getManifest(nginx, tag, asked)).rejects.toMatchObject({ kind: "corrupt" });
    },
  );

  test.each([
    ["an HTML page", { "content-type": "text/html" }, "<html>"],
    ["no content type", {}, manifest],
    ["another content type than the document's", { "content-type": ociIndex }, manifest],
    [
      "manifests and layers in one",
      { "content-type": ociManifest },
      `{"schemaVersion":2,"manifests":[],"layers":[]}`,
    ],
  ])("S19: %s is no manifest", async (_, headers, body) => {
    const { registry } = await registryThat(200, headers, body);
    await expect(registry.getManifest(nginx, tag, asked)).rejects.toMatchObject({ kind: "corrupt" });
  });

  test("S22: one byte too many is refused, with and without a length", async () => {
    const long = Buffer.alloc(maxManifestBytes + 1, " ");
    const { registry } = await registryThat(200, type, long);
    await expect(registry.getManifest(nginx, tag, asked)).rejects.toMatchObject({ kind: "corrupt" });
    const chunked = await serve((request, response) => {
      if (request.url === "/v2/") return reply(response, 200);
      response.writeHead(200, type);
      for (let sent = 0; sent < 40; sent += 1) response.write(Buffer.alloc(1024 * 1024, " "));
      return response.end();
    });
    const before = process.memoryUsage().arrayBuffers;
    await expect(upstream(chunked.url).registry.getManifest(nginx, tag, asked)).rejects.toMatchObject({
      kind: "corrupt",
      message: expect.stringContaining("more than"),
    });
    // The server's own 40 MiB are in this process too; ours would come on top.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(60 * 1024 * 1024);
  });

  test.each(["gzip", Array.from({ length: 1000 }, () => "gzip").join(", ")])(
    "S23: an encoding that was not asked for is refused, unread",
    async (encoding) => {
      const { registry } = await registryThat(
        200,
        { ...type, "content-encoding": encoding },
        gzipSync(manifest),
      );
      await expect(registry.getManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "corrupt" });
      await expect(registry.getBlob(nginx, digest, 0, asked)).rejects.toMatchObject({ kind: "corrupt" });
    },
  );

  test("a body that stops in the middle is an upstream that cannot be reached", async () => {
    const server = await serve((request, response) => {
      if (request.url === "/v2/") return reply(response, 200);
      response.writeHead(200, { ...type, "content-length": manifest.length });
      return response.write(manifest.subarray(0, 10), () => response.destroy());
    });
    await expect(upstream(server.url).registry.getManifest(nginx, digest, asked)).rejects.toMatchObject({
      kind: "unreachable",
    });
  });
});

describe("headManifest", () => {
  test("says what the headers say", async () => {
    const { registry } = await registryThat(200, {
      "content-type": `${ociManifest}; charset=utf-8`,
      "docker-content-digest": digest,
      "content-length": 1234,
    });
    expect(await registry.headManifest(nginx, tag, asked)).toEqual({
      mediaType: ociManifest,
      digest,
      size: 1234,
    });
  });

  test("what they do not say is undefined, but a requested digest is known", async () => {
    const server = await serve((request, response) => {
      if (request.url === "/v2/") return reply(response, 200);
      response.writeHead(200, { ...type, "transfer-encoding": "chunked" });
      return response.end();
    });
    const { registry } = upstream(server.url);
    const said = { mediaType: ociManifest, digest: undefined, size: undefined };
    expect(await registry.headManifest(nginx, tag, asked)).toEqual(said);
    expect(await registry.headManifest(nginx, digest, asked)).toEqual({ ...said, digest });
  });

  test.each([
    ["no content type", 200, { "docker-content-digest": digest }],
    ["a page's", 200, { "content-type": "text/html", "docker-content-digest": digest }],
    [
      "that of a manifest of old",
      200,
      { "content-type": "application/vnd.docker.distribution.manifest.v1+prettyjws" },
    ],
    ["405", 405, {}],
    ["501", 501, {}],
  ])("an answer with %s says nothing, not even that the manifest is there", async (_, status, headers) => {
    const { registry } = await registryThat(status, headers);
    const nothing = { mediaType: "", digest: undefined, size: undefined };
    expect(await registry.headManifest(nginx, tag, asked)).toEqual(nothing);
    expect(await registry.headManifest(nginx, digest, asked)).toEqual(nothing);
    expect(registry.health.failures).toBe(0);
  });

  test("an answer about another digest is not believed", async () => {
    const other = parseDigest(`sha256:${"0".repeat(64)}`);
    const { registry } = await registryThat(200, { ...type, "docker-content-digest": String(other) });
    await expect(registry.headManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "corrupt" });
  });
});

describe("what a status means", () => {
  test.each([
    [404, "absent"],
    [410, "absent"],
    [401, "denied"],
    [403, "denied"],
    [500, "unreachable"],
    [502, "unreachable"],
    [503, "unreachable"],
    [504, "unreachable"],
    [408, "unreachable"],
    [400, "corrupt"],
    [418, "corrupt"],
    [204, "corrupt"],
    [304, "corrupt"],
    [300, "corrupt"],
  ])("%i is %s", async (status, kind) => {
    const { registry } = await registryThat(status);
    await expect(registry.headManifest(nginx, tag, asked)).rejects.toMatchObject({ kind, status });
  });

  test.each([
    [501, "unreachable"],
    [405, "corrupt"],
  ])("%i to a GET is %s", async (status, kind) => {
    const { registry } = await registryThat(status);
    await expect(registry.getManifest(nginx, tag, asked)).rejects.toMatchObject({ kind, status });
  });

  test("a 503 may say when to come back", async () => {
    const { registry } = await registryThat(503, { "retry-after": "17" });
    await expect(registry.headManifest(nginx, tag, asked)).rejects.toMatchObject({
      kind: "unreachable",
      retryAfter: 17,
    });
  });

  test("a refusal names the account and the repository, not the registry's reasons", async () => {
    const { registry } = await registryThat(403, {}, "internal: secret reason");
    await expect(registry.getManifest(nginx, tag, asked)).rejects.toThrow(
      "test.example denies anonymous pulls access to library/nginx, or it does not exist",
    );
  });
});
