/** The whole module against the stand-in for Docker Hub: three origins, tokens, signed addresses. */
import { expect, onTestFinished, test } from "vitest";
import { readManifest } from "../../../src/oci/manifest.ts";
import { parseTag } from "../../../src/oci/reference.ts";
import { type Credential, AccountSecret } from "../../../src/upstream/auth/credential.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { startHub } from "../../support/hub.ts";
import { buildImage } from "../../support/images.ts";
import { asked, collect, nginx, upstream } from "./server.ts";

function account(secret: AccountSecret): Credential {
  return { account: "robot", secret: async () => secret, refused: () => undefined };
}

test.each([
  ["anonymously", undefined],
  ["with a password", account(new AccountSecret("robot", "right"))],
  ["with an identity token", account(new AccountSecret("robot", "identity-of-robot", true))],
])("an image is pulled %s", async (_, credential) => {
  const hub = await startHub({
    accounts: { robot: { password: "right", identityToken: "identity-of-robot" } },
  });
  onTestFinished(() => hub.stop());
  const image = await buildImage();
  hub.push(image, nginx.name, "1.29");
  const tokenRealms = [new URL(hub.behaviour.realm).origin];
  const { registry, bucket } = upstream(hub.url, { credential, tokenRealms });

  const tag = parseTag("1.29");
  if (!tag) throw new Error("not a tag");
  const { digest } = await registry.headManifest(nginx, tag, asked);
  const index = await registry.getManifest(nginx, digest ?? tag, asked);
  for (const child of readManifest(index.bytes, index.mediaType).children) {
    const { bytes, mediaType } = await registry.getManifest(nginx, child.digest, asked);
    for (const layer of readManifest(bytes, mediaType).layers) {
      expect(await registry.headBlob(nginx, layer.digest, asked)).toEqual({ size: layer.size });
      const { body } = await registry.getBlob(nginx, layer.digest, 0, asked);
      expect(digestOf(await collect(body))).toBe(layer.digest);
    }
  }
  expect(await registry.listTags(nginx, asked)).toEqual(["1.29"]);
  expect(bucket.kinds.filter((kind) => kind === "token")).toHaveLength(1);
  expect(bucket.tokens).toHaveLength(1);
  expect(bucket.statuses("manifest-get").every((status) => status === 200)).toBe(true);
});
