import type { LookupFunction } from "node:net";
import { buildConnector } from "undici";
import { describe, expect, test } from "vitest";
import { digestOf } from "../../../../src/oci/digest.ts";
import { guardedConnector } from "../../../../src/upstream/net/httpClient.ts";
import { makeAuthority } from "../../../support/certificates.ts";
import { asked, manifest, nginx, reply, replyManifest, serve, upstream, type Upstreamed } from "../server.ts";

const blob = Buffer.from("the bytes of a layer");
const digest = digestOf(blob);
const authority = makeAuthority();

/** A public registry over https: it alone is dialled on this machine, everything else goes through the guard. */
async function guarded(location: string, lookup: LookupFunction): Promise<Upstreamed> {
  const server = await serve(
    (request, response) =>
      request.url === "/v2/" ? reply(response, 200) : reply(response, 307, { location }),
    authority.issue({ names: ["registry.test"] }),
  );
  const guard = guardedConnector({
    allowPrivateAddresses: false,
    hosts: ["registry.test"],
    ca: authority.cert,
    connectMs: 300,
    lookup,
  });
  const toServer = buildConnector({
    ca: authority.cert,
    allowH2: false,
    lookup: (_host, _options, callback) => callback(null, [{ address: "127.0.0.1", family: 4 }]),
  });
  const connect: buildConnector.connector = (target, callback) =>
    target.hostname === "registry.test" ? toServer(target, callback) : guard(target, callback);
  return upstream(`https://registry.test:${server.port}`, { allowPrivateAddresses: false, connect });
}

const nowhere: LookupFunction = (host, _, callback) =>
  callback(Object.assign(new Error(host), { code: "ENOTFOUND" }), "", 0);

const resolves =
  (...addresses: string[]): LookupFunction =>
  (_host, _options, callback) =>
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
    );

describe("the address guard", () => {
  test.each([
    "https://127.0.0.1/x",
    "https://[::1]/x",
    "https://[::ffff:7f00:1]/x",
    "https://[::ffff:127.0.0.1]/x",
    "https://2130706433/x",
    "https://0x7f.1/x",
    "https://017700000001/x",
    "https://[64:ff9b::a9fe:a9fe]/x",
    "https://169.254.169.254/latest/meta-data/",
    "https://10.0.0.1:8443/x",
  ])("S6: a redirect to %s is refused", async (location) => {
    const { registry } = await guarded(location, nowhere);
    await expect(registry.headBlob(nginx, digest, asked)).rejects.toMatchObject({
      kind: "corrupt",
      message: expect.stringContaining("private address"),
    });
  });

  test.each(["169.254.169.254", "127.0.0.1", "64:ff9b::a9fe:a9fe", "fd00:ec2::254"])(
    "S6: a name that resolves to %s is refused",
    async (address) => {
      const { registry } = await guarded("https://metadata.google.internal/x", resolves(address));
      await expect(registry.headBlob(nginx, digest, asked)).rejects.toMatchObject({
        kind: "corrupt",
        message: expect.stringContaining("private address"),
      });
    },
  );

  test("S6: https never leads to http", async () => {
    const target = await serve((_, response) => reply(response, 200, {}, blob));
    const { registry } = await guarded(`http://localhost:${target.port}/x`, resolves("127.0.0.1"));
    await expect(registry.headBlob(nginx, digest, asked)).rejects.toMatchObject({ kind: "corrupt" });
    expect(target.asked).toEqual([]);
  });

  test("S6: not even where private addresses are allowed", async () => {
    const target = await serve((_, response) => reply(response, 200, {}, blob));
    const server = await serve(
      (request, response) =>
        request.url === "/v2/" ? reply(response, 200) : reply(response, 307, { location: target.url }),
      authority.issue({ names: ["localhost"] }),
    );
    const { registry } = upstream(`https://localhost:${server.port}`, { ca: authority.cert });
    await expect(registry.headBlob(nginx, digest, asked)).rejects.toMatchObject({ kind: "corrupt" });
    expect(target.asked).toEqual([]);
  });

  test("S2: nor does it show a credential to an http realm, even one that is configured", async () => {
    const realm = await serve((_, response) => reply(response, 200, {}, `{"token":"t"}`));
    const server = await serve(
      (_, response) => reply(response, 401, { "www-authenticate": `Bearer realm="${realm.url}"` }),
      authority.issue({ names: ["localhost"] }),
    );
    const { registry } = upstream(`https://localhost:${server.port}`, {
      ca: authority.cert,
      tokenRealms: [realm.url],
    });
    await expect(registry.headBlob(nginx, digest, asked)).rejects.toMatchObject({ kind: "corrupt" });
    expect(realm.asked).toEqual([]);
  });

  test("S7: what was checked is what is dialled: a name is resolved once, and its private addresses are left out", async () => {
    const target = await serve(
      (_, response) => reply(response, 200, {}, blob),
      authority.issue({ names: ["rebind.test"] }),
    );
    let lookups = 0;
    // Nothing listens there: what matters is where we do not arrive.
    const rebinding: LookupFunction = (host, options, callback) => {
      lookups += 1;
      const answer = lookups === 1 ? resolves("2001:4860:ffff::1", "127.0.0.1") : resolves("127.0.0.1");
      answer(host, options, callback);
    };
    const { registry } = await guarded(`https://rebind.test:${target.port}/x`, rebinding);
    await expect(registry.headBlob(nginx, digest, asked)).rejects.toMatchObject({ kind: "unreachable" });
    expect(lookups).toBe(1);
    expect(target.asked).toEqual([]);
  });

  test("the registry's own name may not resolve to a private address either, unless that is allowed", async () => {
    const server = await serve(
      (_, response) => replyManifest(response),
      authority.issue({ names: ["localhost"] }),
    );
    const url = `https://localhost:${server.port}`;
    const strict = upstream(url, { allowPrivateAddresses: false, ca: authority.cert });
    await expect(strict.registry.headBlob(nginx, digest, asked)).rejects.toMatchObject({
      kind: "corrupt",
      message: expect.stringContaining("allowPrivateAddresses"),
    });
    const lenient = upstream(url, { allowPrivateAddresses: true, ca: authority.cert });
    await lenient.registry.headManifest(nginx, digestOf(manifest), asked);
  });

  test("http needs the same leave", () => {
    expect(() => upstream("http://registry.example", { allowPrivateAddresses: false })).toThrow(TypeError);
  });
});

describe("TLS", () => {
  const past = new Date(Date.now() - 3600_000);

  test.each([
    [
      "has expired",
      { names: ["localhost"], notAfter: past, notBefore: new Date(past.getTime() - 3600_000) },
      authority.cert,
    ],
    ["is for another host", { names: ["other.test"] }, authority.cert],
    ["is signed by a stranger", { names: ["localhost"] }, undefined],
  ])("S38: a certificate that %s is not believed", async (_, certificate, ca) => {
    const server = await serve((_, response) => replyManifest(response), authority.issue(certificate));
    const { registry } = upstream(`https://localhost:${server.port}`, ca === undefined ? {} : { ca });
    await expect(registry.getManifest(nginx, digestOf(manifest), asked)).rejects.toMatchObject({
      kind: "corrupt",
      message: expect.stringContaining("certificate"),
    });
    expect(server.asked).toEqual([]);
  });
});
