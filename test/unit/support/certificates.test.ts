/** Certificates for tests are good when they should be, and bad in just the way they should be. */
import { afterEach, expect, it } from "vitest";
import { ask } from "../../support/ask.ts";
import { makeAuthority, type LeafOptions } from "../../support/certificates.ts";
import { startHub, type Hub } from "../../support/hub.ts";

const authority = makeAuthority();
let hub: Hub | undefined;

async function pingWith(options: LeafOptions, ca?: string): Promise<number> {
  hub = await startHub({ tls: authority.issue(options), host: "localhost" });
  return (await ask(`${hub.url}/v2/`, ca === undefined ? {} : { ca })).status;
}

afterEach(() => hub?.stop());

it("is trusted by those who trust the authority", async () => {
  expect(await pingWith({ names: ["localhost", "127.0.0.1"] }, authority.cert)).toBe(401);
});

it("is not trusted by others", async () => {
  await expect(pingWith({ names: ["localhost"] })).rejects.toMatchObject({
    code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  });
});

it("can be expired", async () => {
  const notAfter = new Date(Date.now() - 60_000);
  await expect(pingWith({ names: ["localhost"], notAfter }, authority.cert)).rejects.toMatchObject({
    code: "CERT_HAS_EXPIRED",
  });
});

it("can be another host's", async () => {
  await expect(pingWith({ names: ["elsewhere.test"] }, authority.cert)).rejects.toMatchObject({
    code: "ERR_TLS_CERT_ALTNAME_INVALID",
  });
});
