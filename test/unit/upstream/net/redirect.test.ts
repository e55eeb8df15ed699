import { describe, expect, test } from "vitest";
import { type Credential, AccountSecret } from "../../../../src/upstream/auth/credential.ts";
import { digestOf } from "../../../../src/oci/digest.ts";
import { asked, collect, manifest, nginx, reply, serve, upstream } from "../server.ts";

const blob = Buffer.from("the bytes of a layer");
const digest = digestOf(blob);

const credential: Credential = {
  account: "cluster",
  secret: async () => new AccountSecret("cluster", "s3cret"),
  refused: () => undefined,
};

/** A registry that asks for a password and redirects to `location` with it. */
async function redirecting(location: () => string, status = 307) {
  return serve((request, response) =>
    request.headers.authorization === undefined
      ? reply(response, 401, { "www-authenticate": "Basic realm=r" })
      : reply(response, status, { location: location(), "set-cookie": "session=1" }),
  );
}

describe("redirects", () => {
  test.each([301, 302, 303, 307, 308])(
    "S4: %i to a CDN is followed, and the CDN learns nothing about us",
    async (status) => {
      const cdn = await serve((_, response) => reply(response, 200, {}, blob));
      const registry = await redirecting(() => `${cdn.url}/layer?verify=1`, status);
      const { registry: client, bucket, observed } = upstream(registry.url, { credential });
      const { body, size } = await client.getBlob(nginx, digest, 0, asked);
      expect(await collect(body)).toEqual(blob);
      expect(size).toBe(blob.length);
      expect(cdn.asked).toEqual(["GET /layer?verify=1"]);
      const shown = Object.keys(cdn.requests[0]?.headers ?? {});
      expect(shown.toSorted()).toEqual(["accept-encoding", "connection", "host", "user-agent"]);
      // What the CDN answers costs nothing.
      expect(bucket.kinds).toEqual(["ping", "blob"]);
      expect(observed.map(({ kind, status }) => [kind, status])).toContainEqual(["redirect", 200]);
    },
  );

  test("a redirect within the registry keeps the proof, and is paid for again", async () => {
    const registry = await serve((request, response) => {
      if (request.headers.authorization === undefined)
        return reply(response, 401, { "www-authenticate": "Basic realm=r" });
      if (request.url === "/moved") return reply(response, 200, {}, blob);
      return reply(response, 307, { location: "/moved" });
    });
    const { registry: client, bucket } = upstream(registry.url, { credential });
    await collect((await client.getBlob(nginx, digest, 0, asked)).body);
    expect(bucket.statuses("blob")).toEqual([307, 200]);
  });

  test("a request that comes back from another origin carries no credential", async () => {
    const cdn = await serve((_, response) => reply(response, 307, { location: `${registry.url}/private` }));
    const registry = await redirecting(() => `${cdn.url}/x`);
    const { registry: client } = upstream(registry.url, { credential });
    await expect(client.getBlob(nginx, digest, 0, asked)).rejects.toMatchObject({ kind: "denied" });
    const back = registry.requests.filter(({ url }) => url === "/private");
    expect(back.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  test("a 401 after a redirect never brings out the credential", async () => {
    const cdn = await serve((_, response) =>
      reply(response, 401, { "www-authenticate": "Basic realm=give-it-to-me" }),
    );
    const registry = await redirecting(() => `${cdn.url}/x`);
    const { registry: client } = upstream(registry.url, { credential });
    await expect(client.getBlob(nginx, digest, 0, asked)).rejects.toMatchObject({ kind: "denied" });
    expect(cdn.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  test("a 403 from a CDN is answered by requesting another address from the registry, once", async () => {
    let given = 0;
    const cdn = await serve((request, response) =>
      request.url === "/1" ? reply(response, 403) : reply(response, 200, {}, blob),
    );
    const registry = await redirecting(() => `${cdn.url}/${(given += 1)}`);
    const { registry: client } = upstream(registry.url, { credential });
    expect(await collect((await client.getBlob(nginx, digest, 0, asked)).body)).toEqual(blob);
    expect(cdn.asked).toEqual(["GET /1", "GET /2"]);
  });

  test("a CDN that keeps saying 403 is a refusal", async () => {
    const cdn = await serve((_, response) => reply(response, 403));
    const registry = await redirecting(() => `${cdn.url}/x`);
    const { registry: client } = upstream(registry.url, { credential });
    await expect(client.getBlob(nginx, digest, 0, asked)).rejects.toMatchObject({ kind: "denied" });
    expect(cdn.asked).toHaveLength(2);
  });

  test("five redirects are followed, a sixth is not", async () => {
    let last = 5;
    const registry = await serve((request, response) => {
      const hop = Number(/hop=(\d+)/.exec(request.url ?? "")?.[1] ?? 0);
      return hop === last
        ? reply(response, 200, {}, blob)
        : reply(response, 302, { location: `/x?hop=${hop + 1}` });
    });
    const { registry: client } = upstream(registry.url);
    expect(await client.headBlob(nginx, digest, asked)).toEqual({ size: blob.length });
    last = 6;
    await expect(client.headBlob(nginx, digest, asked)).rejects.toMatchObject({ kind: "corrupt" });
  });

  test("S6: a loop ends at once", async () => {
    const registry = await serve((request, response) =>
      reply(response, 302, { location: request.url === "/a" ? "/b" : "/a" }),
    );
    const { registry: client } = upstream(registry.url);
    await expect(client.headBlob(nginx, digest, asked)).rejects.toMatchObject({ kind: "corrupt" });
    expect(registry.asked).toHaveLength(4);
  });

  test.each(["ftp://x.example/", "file:///etc/passwd", "https://user:pass@x.example/", "http://[", ""])(
    "S6: %j is not an address to follow",
    async (location) => {
      const registry = await serve((_, response) => reply(response, 307, { location }));
      const { registry: client } = upstream(registry.url);
      await expect(client.headBlob(nginx, digest, asked)).rejects.toMatchObject({ kind: "corrupt" });
    },
  );

  test("S9: addresses that a manifest names for its layers are never dialled", async () => {
    const elsewhere = await serve((_, response) => reply(response, 200, {}, blob));
    const layer = {
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      digest,
      size: 20,
      urls: [`${elsewhere.url}/x`],
    };
    const foreign = Buffer.from(JSON.stringify({ ...JSON.parse(manifest.toString()), layers: [layer] }));
    const registry = await serve((request, response) => {
      if (request.url?.includes("/blobs/")) return reply(response, 404);
      return reply(response, 200, { "content-type": "application/vnd.oci.image.manifest.v1+json" }, foreign);
    });
    const { registry: client } = upstream(registry.url);
    await client.getManifest(nginx, digestOf(foreign), asked);
    await expect(client.getBlob(nginx, digest, 0, asked)).rejects.toMatchObject({ kind: "absent" });
    expect(elsewhere.asked).toEqual([]);
  });
});
